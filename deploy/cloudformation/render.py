"""Writes `kms-pool.yaml`, the key pool as a CloudFormation template, from the key policy in the source.

    python deploy/cloudformation/render.py [--keys 10] > deploy/cloudformation/kms-pool.yaml
    python deploy/cloudformation/render.py --replicas [--keys 10] > deploy/cloudformation/kms-replicas.yaml

The second is for a stack in another Region: replicas of the first stack's keys, if those are multi-Region.

CloudFormation has no loops without a macro, so the keys are written out; the policy is the one that
`kms-service pool create-aliases` gives, with the stack's roles in place of ARNs. With `--oidc-provider` the
service accounts of an EKS cluster assume the roles. That template is too long to send directly: deploy it
with `aws cloudformation deploy --s3-bucket`.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from typing import Any

import yaml

from kms_service.kms.control_plane.key_policy import Roles, key_policy

Resource = dict[str, Any]
DEFAULT_KEYS = 10

# The stack's roles, and what each is for.
ROLES = {
    "ServingRole": "makes wallets, hands out private keys and signs: one service for everything",
    "CreationRole": "makes wallets and cannot open any: a service for sign-ups alone",
    "RevealRole": "hands out private keys and signs, and makes no wallets",
    "RotationRole": "moves wallets between keys and never sees a DEK",
    "AuditRole": "verifies the audit chains and can open no wallet",
    "OperationRole": "makes and changes tokens and policies, unseals, and can open no wallet",
}
# The service account of deploy/kubernetes that assumes a role, in the namespace kms-service.
ACCOUNTS = {
    "ServingRole": "kms-service",
    "CreationRole": "kms-service-creation",
    "RevealRole": "kms-service-reveal",
    "RotationRole": "kms-service-rotation-worker",
    "AuditRole": "kms-service-audit",
    "OperationRole": "kms-service-operation",
}
# The alarms: what each is about, and the KMS calls that set it off.
ALARMS = {
    "KeyDeletion": (
        "Somebody scheduled the deletion of a wallet key: cancel it, or wallets are lost.",
        ["ScheduleKeyDeletion", "DeleteImportedKeyMaterial"],
    ),
    "KeyDisabled": (
        "Somebody disabled a wallet key or its rotation: wallets under a disabled key do not open.",
        ["DisableKey", "DisableKeyRotation"],
    ),
    "KeyPolicyChange": (
        "Somebody changed who may use a wallet key, or where its alias points.",
        ["PutKeyPolicy", "CreateGrant", "UpdateAlias", "DeleteAlias"],
    ),
}


def template(keys: int, oidc_provider: str | None = None) -> dict[str, Any]:
    """The template for a pool of `keys` keys, with roles for an AWS service or for an EKS cluster."""
    resources = {name: _role(name, purpose, oidc_provider) for name, purpose in ROLES.items()}
    for number in range(1, keys + 1):
        resources[f"Key{number}"] = _key(number)
        resources[f"Alias{number}"] = _alias(number)
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": "The key pool of kms-service: keys, aliases, rotation, policies, roles and alarms.",
        "Parameters": _parameters() if oidc_provider else _parameters() | _TRUSTED_SERVICE,
        "Conditions": _HAS_ALERT_EMAIL,
        "Resources": resources | _alarms(keys),
        "Outputs": _outputs(keys),
    }


def replicas(keys: int) -> dict[str, Any]:
    """The template of a stack in another Region, with replicas of a pool's `keys` keys."""
    resources: dict[str, Any] = {}
    for number in range(1, keys + 1):
        resources[f"Key{number}"] = _replica(number)
        resources[f"Alias{number}"] = _alias(number)
    roles = {
        f"{role}Arn": {"Type": "String", "Description": f"Output {role}Arn of the pool's stack."}
        for role in ROLES
    }
    keys_of_the_pool = {
        "Type": "CommaDelimitedList",
        "Description": "Output KeyArns of the pool's stack, made with MultiRegion=true.",
    }
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": "A second Region of kms-service: replicas of its keys, aliases, policies and alarms.",
        "Parameters": {"PrimaryKeyArns": keys_of_the_pool, **roles, **_PREFIX, **_EMAIL},
        "Conditions": _HAS_ALERT_EMAIL,
        "Resources": resources | _alarms(keys),
        "Outputs": {"AlertsTopicArn": _TOPIC},
    }


def _alarms(keys: int) -> dict[str, Any]:
    resources: dict[str, Any] = {"Alerts": {"Type": "AWS::SNS::Topic"}}
    resources |= {"AlertsPolicy": _topic_policy(), "AlertsSubscription": _subscription()}
    for name, (description, calls) in ALARMS.items():
        resources[f"{name}Rule"] = _rule(description, calls, keys)
        resources[f"{name}Alarm"] = _alarm(name, description)
    return resources


_HAS_ALERT_EMAIL = {"HasAlertEmail": {"Fn::Not": [{"Fn::Equals": [{"Ref": "AlertEmail"}, ""]}]}}
_PREFIX = {
    "AliasPrefix": {
        "Type": "String",
        "Default": "Empressa-wallet-key",
        "AllowedPattern": "[A-Za-z0-9/_-]{1,200}",
        "Description": "KMS_KEY_ALIAS_PREFIX of the service.",
    }
}
_EMAIL = {
    "AlertEmail": {
        "Type": "String",
        "Default": "",
        "Description": "Email address for alarms about the keys; empty for none.",
    }
}
_TOPIC = {"Description": "Topic of the alarms.", "Value": {"Ref": "Alerts"}}


def _parameters() -> dict[str, Any]:
    return {
        **_PREFIX,
        "RotationPeriodInDays": {
            "Type": "Number",
            "Default": 365,
            "MinValue": 90,
            "MaxValue": 2560,
            "Description": "How often KMS rotates the material of each key, in days.",
        },
        "MultiRegion": {
            "Type": "String",
            "Default": "false",
            "AllowedValues": ["true", "false"],
            "Description": "Multi-Region keys, which can have replicas. For new stacks: KMS converts none.",
        },
        **_EMAIL,
    }


_TRUSTED_SERVICE = {
    "TrustedService": {
        "Type": "String",
        "Default": "ecs-tasks.amazonaws.com",
        "Description": "Which AWS service may assume the roles.",
    }
}


def _role(name: str, purpose: str, oidc_provider: str | None) -> Resource:
    trust = _trusted_account(name, oidc_provider) if oidc_provider else _TRUST_IN_SERVICE
    document = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **trust}]}
    # The role has no policies: the keys' policies grant what it may do.
    return {
        "Type": "AWS::IAM::Role",
        "Properties": {"Description": f"kms-service: {purpose}", "AssumeRolePolicyDocument": document},
    }


_TRUST_IN_SERVICE = {
    "Principal": {"Service": {"Ref": "TrustedService"}},
    "Action": "sts:AssumeRole",
    # Otherwise tasks of another account could have the service assume the role for them.
    "Condition": {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}},
}


def _trusted_account(role: str, oidc_provider: str) -> dict[str, Any]:
    # Not a parameter: CloudFormation accepts no function as the name of a member.
    provider = f"arn:${{AWS::Partition}}:iam::${{AWS::AccountId}}:oidc-provider/{oidc_provider}"
    return {
        "Principal": {"Federated": {"Fn::Sub": provider}},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {
            "StringEquals": {
                f"{oidc_provider}:aud": "sts.amazonaws.com",
                f"{oidc_provider}:sub": f"system:serviceaccount:kms-service:{ACCOUNTS[role]}",
            }
        },
    }


def _key(number: int) -> Resource:
    return {
        "Type": "AWS::KMS::Key",
        # Deleting or changing a stack must not take wallets with it.
        "DeletionPolicy": "Retain",
        "UpdateReplacePolicy": "Retain",
        "Properties": {
            "Description": {"Fn::Sub": f"kms-service: DEKs of alias/${{AliasPrefix}}-{number}"},
            "MultiRegion": {"Ref": "MultiRegion"},
            "EnableKeyRotation": True,
            "RotationPeriodInDays": {"Ref": "RotationPeriodInDays"},
            "PendingWindowInDays": 30,
            "KeyPolicy": _policy([_arn(role) for role in ROLES]),
            "Tags": _tags(number),
        },
    }


def _replica(number: int) -> Resource:
    # The primary's rotation is also that of its replicas.
    return {
        "Type": "AWS::KMS::ReplicaKey",
        "DeletionPolicy": "Retain",
        "UpdateReplacePolicy": "Retain",
        "Properties": {
            "Description": {"Fn::Sub": f"kms-service: DEKs of alias/${{AliasPrefix}}-{number}"},
            "PrimaryKeyArn": {"Fn::Select": [number - 1, {"Ref": "PrimaryKeyArns"}]},
            "PendingWindowInDays": 30,
            "KeyPolicy": _policy([{"Ref": f"{role}Arn"} for role in ROLES]),
            "Tags": _tags(number),
        },
    }


def _tags(number: int) -> list[dict[str, Any]]:
    return [
        {"Key": "kms-service:alias", "Value": {"Fn::Sub": f"alias/${{AliasPrefix}}-{number}"}},
        {"Key": "Application", "Value": "kms-service"},
    ]


def _policy(roles: Sequence[dict[str, Any]]) -> dict[str, Any]:
    serving, creation, reveal, rotation, audit, operation = roles
    return key_policy(
        {"Fn::Sub": "arn:${AWS::Partition}:iam::${AWS::AccountId}:root"},
        Roles(
            create=[serving, creation],
            reveal=[serving, reveal],
            rotate=[rotation],
            audit=[audit],
            operate=[operation],
        ),
    )


def _alias(number: int) -> Resource:
    return {
        "Type": "AWS::KMS::Alias",
        "Properties": {
            "AliasName": {"Fn::Sub": f"alias/${{AliasPrefix}}-{number}"},
            "TargetKeyId": {"Ref": f"Key{number}"},
        },
    }


def _subscription() -> Resource:
    return {
        "Type": "AWS::SNS::Subscription",
        "Condition": "HasAlertEmail",
        "Properties": {
            "TopicArn": {"Ref": "Alerts"},
            "Protocol": "email",
            "Endpoint": {"Ref": "AlertEmail"},
        },
    }


def _topic_policy() -> Resource:
    publishers = ["cloudwatch.amazonaws.com", "events.amazonaws.com"]
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": publishers},
        "Action": "sns:Publish",
        "Resource": {"Ref": "Alerts"},
        "Condition": {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}},
    }
    return {
        "Type": "AWS::SNS::TopicPolicy",
        "Properties": {
            "Topics": [{"Ref": "Alerts"}],
            "PolicyDocument": {"Version": "2012-10-17", "Statement": [statement]},
        },
    }


def _rule(description: str, calls: list[str], keys: int) -> Resource:
    return {
        "Type": "AWS::Events::Rule",
        "Properties": {
            "Description": description,
            "EventPattern": {
                "source": ["aws.kms"],
                "detail-type": ["AWS API Call via CloudTrail"],
                "detail": {
                    "eventSource": ["kms.amazonaws.com"],
                    "eventName": calls,
                    "resources": {"ARN": [_arn(f"Key{number}") for number in range(1, keys + 1)]},
                },
            },
            "Targets": [{"Id": "alerts", "Arn": {"Ref": "Alerts"}}],
        },
    }


def _alarm(name: str, description: str) -> Resource:
    return {
        "Type": "AWS::CloudWatch::Alarm",
        "Properties": {
            "AlarmDescription": description,
            "Namespace": "AWS/Events",
            "MetricName": "TriggeredRules",
            "Dimensions": [{"Name": "RuleName", "Value": {"Ref": f"{name}Rule"}}],
            "Statistic": "Sum",
            "Period": 60,
            "EvaluationPeriods": 1,
            "Threshold": 1,
            "ComparisonOperator": "GreaterThanOrEqualToThreshold",
            "TreatMissingData": "notBreaching",
            "AlarmActions": [{"Ref": "Alerts"}],
        },
    }


def _outputs(keys: int) -> dict[str, Any]:
    outputs = {
        f"{role}Arn": {"Description": f"{purpose}.", "Value": _arn(role)} for role, purpose in ROLES.items()
    }
    return outputs | {
        "AliasPrefix": {"Description": "KMS_KEY_ALIAS_PREFIX.", "Value": {"Ref": "AliasPrefix"}},
        "KeyArns": {
            "Description": "PrimaryKeyArns for kms-replicas.yaml.",
            "Value": {"Fn::Join": [",", [_arn(f"Key{number}") for number in range(1, keys + 1)]]},
        },
        "AlertsTopicArn": _TOPIC,
    }


def _arn(resource: str) -> dict[str, Any]:
    return {"Fn::GetAtt": [resource, "Arn"]}


class _Dumper(yaml.SafeDumper):
    """Writes everything out, since CloudFormation has no YAML anchors, and functions in their short form.

    In the long form, ten keys would not fit in the 51,200 bytes that a template may have without a bucket.
    """

    def ignore_aliases(self, data: Any) -> bool:
        del data
        return True


def _function(dumper: yaml.SafeDumper, value: dict[str, Any]) -> yaml.Node:
    if len(value) == 1:
        ((name, argument),) = value.items()
        if name == "Ref":
            return dumper.represent_scalar("!Ref", argument)
        if name == "Fn::Sub":
            return dumper.represent_scalar("!Sub", argument)
        if name == "Fn::GetAtt":
            return dumper.represent_scalar("!GetAtt", ".".join(argument))
    return dumper.represent_mapping("tag:yaml.org,2002:map", value, flow_style="Sid" in value)


def _sequence(dumper: yaml.SafeDumper, value: list[Any]) -> yaml.Node:
    # On one line, as statements are: without a bucket, a template may have at most 51,200 bytes.
    words = all(isinstance(each, str | int | list) or set(each) <= {"Ref", "Fn::GetAtt"} for each in value)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", value, flow_style=words)


_Dumper.add_representer(dict, _function)
_Dumper.add_representer(list, _sequence)


def render(document: dict[str, Any], arguments: str) -> str:
    """A template as text."""
    head = f"# Written by render.py {arguments}; change that, not this.\n"
    text = yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=10_000)
    # The quotes would take a thousand bytes too many.
    return head + re.sub(r"(!Ref|!GetAtt) '([\w.]+)'", r"\1 \2", text)


def main() -> None:
    """Write the template to standard output."""
    parser = argparse.ArgumentParser(description="Write the CloudFormation template of the key pool.")
    parser.add_argument("--keys", type=int, default=DEFAULT_KEYS, help="size of the pool, 10 by default")
    parser.add_argument(
        "--oidc-provider",
        metavar="HOST",
        help="of an EKS cluster, such as oidc.eks.eu-central-1.amazonaws.com/id/0123456789ABCDEF",
    )
    parser.add_argument("--replicas", action="store_true", help="write the template of the second Region")
    options = parser.parse_args()
    if options.replicas:
        sys.stdout.write(render(replicas(options.keys), f"--replicas --keys {options.keys}"))
    else:
        sys.stdout.write(render(template(options.keys, options.oidc_provider), f"--keys {options.keys}"))


if __name__ == "__main__":
    main()
