"""Map of the calls between services: a picture with live numbers, a table, and a panel about the chosen part.

`plan.py` lays the picture out, `looks.py` gives each part its colour and numbers, and `svg.py` draws it. `table.py` and
`panel.py` are made of ordinary elements.
"""
