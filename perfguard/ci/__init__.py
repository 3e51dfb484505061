"""What a CI job does with perfguard: find the base, run the gate, say what came of it, comment on the pull request.

All decisions of `.github/actions/gate` and of the GitLab template live here, behind `perfguard ci gate|comment`: a
workflow only passes its inputs on. `context` reads what CI says, `base` finds the commit to compare with, `gate` runs
pytest and writes what `message`, `annotations` and `workflow` say; `comment` posts it, from the job itself or from a
later, trusted one that reads the artifact (`untrusted`).
"""
