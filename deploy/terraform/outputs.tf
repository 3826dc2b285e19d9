output "role_arns" {
  description = "The role of each part, by name: ServingRole, CreationRole, RevealRole, RotationRole, AuditRole, OperationRole."
  value       = { for name, role in aws_iam_role.this : name => role.arn }
}

output "key_arns" {
  description = "The keys of the pool, by number."
  value       = { for number, key in aws_kms_key.this : number => key.arn }
}

output "primary_key_arns" {
  description = "PrimaryKeyArns for deploy/cloudformation/kms-replicas.yaml, if multi_region is true."
  value       = join(",", [for number in range(1, var.keys + 1) : aws_kms_key.this[tostring(number)].arn])
}

output "alias_prefix" {
  description = "KMS_KEY_ALIAS_PREFIX."
  value       = var.alias_prefix
}

output "alerts_topic_arn" {
  description = "Topic of the alarms: AlarmTopicArn for deploy/cloudformation/monitoring.yaml."
  value       = aws_sns_topic.alerts.arn
}
