"""`/console`: the operator page. It changes nothing, runs no script, and loads nothing else.

Without a script it cannot say that it is out of date when the server stops answering: the browser shows its
own error then. In return there is nothing to inject into, and the page is light enough for a phone at night.
"""

from kms_service.api.console.routes import install_console

__all__ = ["install_console"]
