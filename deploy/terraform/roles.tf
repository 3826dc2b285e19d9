# The roles have no policies: the keys' policy grants what each may do.

resource "aws_iam_role" "this" {
  for_each = local.roles

  name_prefix        = "kms-service-${each.key}-"
  description        = "kms-service: ${each.value.purpose}"
  assume_role_policy = var.oidc_provider == "" ? data.aws_iam_policy_document.service.json : data.aws_iam_policy_document.cluster[each.key].json
}

data "aws_iam_policy_document" "service" {
  statement {
    effect  = "Allow"
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = [var.trusted_service]
    }

    # Otherwise tasks of another account could have the service assume the role for them.
    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [local.account]
    }
  }
}

data "aws_iam_policy_document" "cluster" {
  for_each = var.oidc_provider == "" ? {} : local.roles

  statement {
    effect  = "Allow"
    actions = ["sts:AssumeRoleWithWebIdentity"]

    principals {
      type        = "Federated"
      identifiers = ["arn:${data.aws_partition.this.partition}:iam::${local.account}:oidc-provider/${var.oidc_provider}"]
    }

    condition {
      test     = "StringEquals"
      variable = "${var.oidc_provider}:aud"
      values   = ["sts.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "${var.oidc_provider}:sub"
      values   = ["system:serviceaccount:kms-service:${each.value.account}"]
    }
  }
}
