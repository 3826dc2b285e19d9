"""`/console`: the operator page. It only looks, runs no script, and is one answer with nothing to load.

Without a script it cannot say that it has become old when the server no longer answers: a browser shows its
own error then. In return there is nothing to inject into, and the page is light enough for a phone at night.
"""

from kms_service.api.console.routes import install_console

__all__ = ["install_console"]
