"""Console: the page of a running mesh, at http://127.0.0.1:5500/.

`__main__.py` starts the process. `server.py` serves the application that `app.py` composes. `guard.py` protects every
request, and `sessions.py` holds the readers. `state.py` has everything that pages read, and `frame.py` draws what all
pages share. Each module or package in `pages/` has the pages of one topic:

    @page("/outbox", "Outbox")
    async def outbox(view: View) -> None:
        ui.label("...")

A new module is listed in `pages/__init__.py`. A page reads with the console's own key, through `view.console`. An
action needs the reader's key (`view.reader`), asks before it acts, and is logged: use `widgets.action_button`.

Text from outside goes into `ui.label`, which shows it as text. It never goes into `ui.html`, `ui.markdown`, `add_slot`,
the string of `props`, or JavaScript. A link to a path with text from outside quotes that text.
"""
