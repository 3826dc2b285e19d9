"""Everything that can go wrong, sorted by who is at fault; HTTP is not known here.

KmsServiceError
├── StartupError                  the process must not serve
│   ├── SettingsError             a variable is missing or wrong
│   ├── SchemaBehind              the database lacks a migration
│   ├── MigrationFailed           a migration failed
│   └── NoKeyAtStart              no key of the pool can be used
├── CallerError                   the request cannot be granted as it is
│   ├── NotAuthenticated          no token, or one that is unknown, expired or revoked
│   ├── NotAuthorized             a valid token without the scope
│   ├── RateLimited               the token's limit per minute is used up
│   ├── PolicyDenied              no rule of the token's policy allows it
│   ├── InvalidRequest            it breaks a rule that the schema cannot express
│   ├── WalletExists
│   ├── NotFound
│   │   ├── WalletNotFound
│   │   ├── KeyNotFound           no key of the pool has this alias
│   │   ├── TokenNotFound
│   │   ├── PolicyNotFound
│   │   └── RewrapJobNotFound
│   ├── MayNotUnseal              this process's login may seal, but not unseal
│   ├── LastActiveKey             draining this key would leave none for new wallets
│   ├── TokenExists
│   ├── TokenChangedElsewhere     somebody else changed it at the same moment
│   ├── SealChangedElsewhere
│   ├── PolicySetElsewhere
│   ├── RewrapJobRunning          only one job runs at a time
│   └── RewrapJobFinished
├── IntegrityFailure              stored bytes do not open, or open to something else
│   ├── PolicyIntegrityFailure    a policy is missing, or not as an operator wrote it
│   └── TokenIntegrityFailure     a token is not as an operator wrote it last
├── KmsError                      a KMS call failed
│   ├── KmsThrottled              the account's quota: no key is to blame
│   ├── KmsUnavailable            time-out, reset, 5xx, garbage: the outcome is unknown
│   └── KmsKeyUnusable            the key is disabled, denied or deleted, until somebody fixes it
├── NoUsableKey                   no key of the pool would wrap a new DEK
├── DatabaseUnavailable           PostgreSQL did not answer: the outcome is unknown
│   └── DatabaseRefused           this process's login has no right to do this
├── AuditUnavailable              the audit row could not be committed, so nothing was released
├── Overloaded                    more requests in flight than the process allows: nothing was begun
├── TimedOut                      no answer within the request's deadline: the outcome is unknown
└── Sealed                        an operator stopped all releases and signatures
"""

from kms_service.errors.callers import (
    CallerError,
    InvalidRequest,
    KeyNotFound,
    LastActiveKey,
    MayNotUnseal,
    NotAuthenticated,
    NotAuthorized,
    NotFound,
    PolicyDenied,
    PolicyNotFound,
    PolicySetElsewhere,
    RateLimited,
    RewrapJobFinished,
    RewrapJobNotFound,
    RewrapJobRunning,
    SealChangedElsewhere,
    TokenChangedElsewhere,
    TokenExists,
    TokenNotFound,
    WalletExists,
    WalletNotFound,
)
from kms_service.errors.kms import KmsError, KmsKeyUnusable, KmsThrottled, KmsUnavailable
from kms_service.errors.service import (
    AuditUnavailable,
    DatabaseRefused,
    DatabaseUnavailable,
    IntegrityFailure,
    KmsServiceError,
    NoUsableKey,
    Overloaded,
    PolicyIntegrityFailure,
    Sealed,
    TimedOut,
    TokenIntegrityFailure,
)
from kms_service.errors.startup import (
    MigrationFailed,
    NoKeyAtStart,
    SchemaBehind,
    SettingsError,
    StartupError,
)

__all__ = [
    "AuditUnavailable",
    "CallerError",
    "DatabaseRefused",
    "DatabaseUnavailable",
    "IntegrityFailure",
    "InvalidRequest",
    "KeyNotFound",
    "KmsError",
    "KmsKeyUnusable",
    "KmsServiceError",
    "KmsThrottled",
    "KmsUnavailable",
    "LastActiveKey",
    "MayNotUnseal",
    "MigrationFailed",
    "NoKeyAtStart",
    "NoUsableKey",
    "NotAuthenticated",
    "NotAuthorized",
    "NotFound",
    "Overloaded",
    "PolicyDenied",
    "PolicyIntegrityFailure",
    "PolicyNotFound",
    "PolicySetElsewhere",
    "RateLimited",
    "RewrapJobFinished",
    "RewrapJobNotFound",
    "RewrapJobRunning",
    "SchemaBehind",
    "SealChangedElsewhere",
    "Sealed",
    "SettingsError",
    "StartupError",
    "TimedOut",
    "TokenChangedElsewhere",
    "TokenExists",
    "TokenIntegrityFailure",
    "TokenNotFound",
    "WalletExists",
    "WalletNotFound",
]
