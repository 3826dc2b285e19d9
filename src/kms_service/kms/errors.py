"""The kinds of failed KMS calls that callers treat differently.

They are subclasses of `errors.KmsUnavailable` and `errors.KmsKeyUnusable`, and are answered like these.

KmsUnavailable
├── KmsCallNotMade     the call was not sent, so nothing happened
│   └── KmsNoCredentials   there are no valid credentials to sign with
├── KmsTimedOut        no answer in time
└── KmsRegionFault     no connection, a broken one, or a 5xx
KmsKeyUnusable
├── KmsAccessDenied    a policy refuses it
├── KmsKeyDisabled     until somebody enables it
├── KmsKeyMissing      no such key or alias
└── KmsUnsupported     no key of this kind can do it
"""

from kms_service.errors import KmsKeyUnusable, KmsUnavailable


class KmsCallNotMade(KmsUnavailable):
    """This process did not send the call: it has no credentials or no time, or earlier calls hang."""


class KmsNoCredentials(KmsCallNotMade):
    """There are no valid credentials for this Region; there may be for another."""


class KmsTimedOut(KmsUnavailable):
    """KMS did not answer in time; whether it did what was asked is unknown."""


class KmsRegionFault(KmsUnavailable):
    """No connection, a broken one, or a 5xx: the Region is at fault, not the request."""


class KmsAccessDenied(KmsKeyUnusable):
    """A key policy or IAM denies this to these credentials: a changed policy, or a stranger's attempt."""


class KmsKeyDisabled(KmsKeyUnusable):
    """Somebody disabled the key; it works again once it is enabled."""


class KmsKeyMissing(KmsKeyUnusable):
    """There is no such key or alias in this account and Region."""


class KmsUnsupported(KmsKeyUnusable):
    """Keys of this kind cannot do what was asked, such as rotate when their material is imported."""
