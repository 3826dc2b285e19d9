# The key pool of kms-service: keys, aliases, rotation, policies, roles and alarms. The same as
# deploy/cloudformation/kms-pool.yaml, as a test checks; use one of the two.

data "aws_caller_identity" "this" {}

data "aws_partition" "this" {}

locals {
  account = data.aws_caller_identity.this.account_id
  root    = "arn:${data.aws_partition.this.partition}:iam::${local.account}:root"

  # What each role is for, and the service account of deploy/kubernetes that assumes it on EKS.
  roles = {
    ServingRole = {
      purpose = "makes wallets, hands out private keys and signs: one service for everything"
      account = "kms-service"
    }
    CreationRole = {
      purpose = "makes wallets and cannot open any: a service for sign-ups alone"
      account = "kms-service-creation"
    }
    RevealRole = {
      purpose = "hands out private keys and signs, and makes no wallets"
      account = "kms-service-reveal"
    }
    RotationRole = {
      purpose = "moves wallets between keys and never sees a DEK"
      account = "kms-service-rotation-worker"
    }
    AuditRole = {
      purpose = "verifies the audit chains and can open no wallet"
      account = "kms-service-audit"
    }
    OperationRole = {
      purpose = "makes and changes tokens and policies, unseals, and can open no wallet"
      account = "kms-service-operation"
    }
  }

  serving   = aws_iam_role.this["ServingRole"].arn
  creation  = aws_iam_role.this["CreationRole"].arn
  reveal    = aws_iam_role.this["RevealRole"].arn
  rotation  = aws_iam_role.this["RotationRole"].arn
  audit     = aws_iam_role.this["AuditRole"].arn
  operation = aws_iam_role.this["OperationRole"].arn

  aliases = { for number in range(1, var.keys + 1) : tostring(number) => "alias/${var.alias_prefix}-${number}" }

  # What each alarm is about, and the KMS calls that set it off.
  alarms = {
    KeyDeletion = {
      description = "Somebody scheduled the deletion of a wallet key: cancel it, or wallets are lost."
      calls       = ["ScheduleKeyDeletion", "DeleteImportedKeyMaterial"]
    }
    KeyDisabled = {
      description = "Somebody disabled a wallet key or its rotation: wallets under a disabled key do not open."
      calls       = ["DisableKey", "DisableKeyRotation"]
    }
    KeyPolicyChange = {
      description = "Somebody changed who may use a wallet key, or where its alias points."
      calls       = ["PutKeyPolicy", "CreateGrant", "UpdateAlias", "DeleteAlias"]
    }
  }
}

resource "aws_kms_key" "this" {
  for_each = local.aliases

  description             = "kms-service: DEKs of ${each.value}"
  multi_region            = var.multi_region
  enable_key_rotation     = true
  rotation_period_in_days = var.rotation_period_in_days
  deletion_window_in_days = 30
  policy                  = data.aws_iam_policy_document.key.json

  tags = {
    "kms-service:alias" = each.value
    Application         = "kms-service"
  }

  # Removing or changing the module must not take wallets with it.
  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_kms_alias" "this" {
  for_each = local.aliases

  name          = each.value
  target_key_id = aws_kms_key.this[each.key].key_id
}
