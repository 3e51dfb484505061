"""Duet: two revisions measured in turn, in one session, over several process restarts, so that drift cancels.

`worktree` checks the other revision out, `side` runs one revision's worker, `worker` is what runs inside it,
`engine` lets both take turns and decides when enough is known. `line` is the wire between them.
"""
