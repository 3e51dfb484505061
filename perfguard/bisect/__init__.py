"""The first slower commit between two: a bisection whose steps are duets.

`search` knows which commit to try next, `driver` asks for comparisons and answers the search, `comparison` is what
they exchange, `measuring` runs one comparison, `history` reads git, `report` writes what was found.
"""
