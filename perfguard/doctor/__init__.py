"""Can this machine tell a change of the size asked for? Its noise measured by a duet of one tree with itself, and why.

`machine` and `cgroup` read what the kernel tells, `findings` says what of it adds noise and what would help,
`measuring` runs the restarts, `resolving` turns them into the smallest change that a gate would see.
"""
