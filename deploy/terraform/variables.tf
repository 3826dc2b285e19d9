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
  description = "How often KMS makes new material for each key."
  type        = number
  default     = 365

  validation {
    condition     = var.rotation_period_in_days >= 90 && var.rotation_period_in_days <= 2560
    error_message = "KMS rotates every 90 to 2560 days."
  }
}

variable "multi_region" {
  description = "Keys that can have replicas. For new pools: KMS cannot change it."
  type        = bool
  default     = false
}

variable "alert_email" {
  description = "Who is told of deletion, disabling and policy changes; empty for nobody."
  type        = string
  default     = ""
}

variable "trusted_service" {
  description = "Which AWS service may assume the roles, unless oidc_provider is set."
  type        = string
  default     = "ecs-tasks.amazonaws.com"
}

variable "oidc_provider" {
  description = "Of an EKS cluster, without https://: its service accounts assume the roles then. Empty for none."
  type        = string
  default     = ""
}
