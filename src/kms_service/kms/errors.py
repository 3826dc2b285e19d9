"""What a failed KMS call means, where the difference decides what is done next.

They are kinds of `errors.KmsUnavailable` and `errors.KmsKeyUnusable`, and are answered like these.

KmsUnavailable
├── KmsCallNotMade     nothing was sent, so nothing happened
│   └── KmsNoCredentials   there are no valid ones to sign with
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
    """This process did not send the call: no credentials, no time, or earlier calls hang."""


class KmsNoCredentials(KmsCallNotMade):
    """The Region's credentials cannot be had; those of another Region may."""


class KmsTimedOut(KmsUnavailable):
    """KMS did not answer in time; whether it did what was asked is unknown."""


class KmsRegionFault(KmsUnavailable):
    """No connection, a broken one, or a 5xx: the Region is at fault, not what was asked of it."""


class KmsAccessDenied(KmsKeyUnusable):
    """A key policy or IAM refuses this to these credentials: a changed policy, or a stranger who tries."""


class KmsKeyDisabled(KmsKeyUnusable):
    """Somebody disabled the key; enabling it again brings it back."""


class KmsKeyMissing(KmsKeyUnusable):
    """There is no such key or alias in this account and Region."""


class KmsUnsupported(KmsKeyUnusable):
    """Keys of this kind cannot do what was asked, such as rotate imported material."""
