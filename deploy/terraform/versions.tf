terraform {
  required_version = ">= 1.9"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.64, < 7.0" # 5.64 is the first with aws_kms_key.rotation_period_in_days
    }
  }
}
