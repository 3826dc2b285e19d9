variable "keys" {
  description = "KMS_KEY_POOL_SIZE of the service: how many keys the pool has."
  type        = number
  default     = 10

  validation {
    condition     = var.keys >= 1 && var.keys <= 100
    error_message = "A pool has 1 to 100 keys."
  }
}

variable "alias_prefix" {
  description = "KMS_KEY_ALIAS_PREFIX of the service."
  type        = string
  default     = "Empressa-wallet-key"

  validation {
    condition     = can(regex("^[A-Za-z0-9/_-]{1,200}$", var.alias_prefix))
    error_message = "An alias has letters, digits, slashes, underscores and dashes."
  }
}

variable "rotation_period_in_days" {
  description = "How often KMS rotates the material of each key, in days."
  type        = number
  default     = 365

  validation {
    condition     = var.rotation_period_in_days >= 90 && var.rotation_period_in_days <= 2560
    error_message = "KMS rotates every 90 to 2560 days."
  }
}

variable "multi_region" {
  description = "Multi-Region keys, which can have replicas. Only for new pools, because KMS cannot convert keys."
  type        = bool
  default     = false
}

variable "alert_email" {
  description = "Email address for alarms about the keys; empty for none."
  type        = string
  default     = ""
}

variable "trusted_service" {
  description = "Which AWS service may assume the roles, unless oidc_provider is set."
  type        = string
  default     = "ecs-tasks.amazonaws.com"
}

variable "oidc_provider" {
  description = "OIDC provider of an EKS cluster, without https://, whose service accounts then assume the roles. Empty for none."
  type        = string
  default     = ""
}
