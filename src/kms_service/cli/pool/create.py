"""`kms-service pool create-aliases`."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import click
from rich.progress import Progress, track

from kms_service.cli.lines import tell, warn
from kms_service.cli.pool.replicate import replicate, report_replicas
from kms_service.cli.process.loop import on_loop
from kms_service.cli.screen import progress_screen
from kms_service.kms.control_plane.administration import AdministrationFailed, KeyAdministration
from kms_service.kms.control_plane.client import ControlPlane
from kms_service.kms.control_plane.identity import caller_identity
from kms_service.kms.control_plane.key_policy import Roles, key_policy
from kms_service.service.pool.provision import (
    DEFAULT_DAYS,
    LEAST_DAYS,
    MOST_DAYS,
    PlannedKey,
    Provisioning,
    Step,
    Wanted,
)
from kms_service.service.pool.replicate import PlannedReplica, ReplicaStep, Replication
from kms_service.settings import Settings, load_settings

_DONE = {Step.CREATE: "created", Step.COMPLETE: "completed", Step.ADOPT: "adopted"}


@click.command(name="create-aliases")
@click.option("--dry-run", is_flag=True, help="Show what would be done, and do nothing.")
@click.option(
    "--rotation-days",
    type=click.IntRange(LEAST_DAYS, MOST_DAYS),
    default=DEFAULT_DAYS,
    show_default=True,
    help="Make KMS rotate each key's material after this many days.",
)
@click.option(
    "--create-role", multiple=True, metavar="ARN", help="A role that may create wallets; repeat for several."
)
@click.option("--reveal-role", multiple=True, metavar="ARN", help="A role that may release keys and sign.")
@click.option(
    "--rotate-role", multiple=True, metavar="ARN", help="A role that may move wallets between keys."
)
@click.option("--audit-role", multiple=True, metavar="ARN", help="A role that may verify the audit chains.")
@click.option(
    "--operate-role", multiple=True, metavar="ARN", help="A role that may change tokens and unseal."
)
@click.option("--account", metavar="ID", help="The account that owns the keys; by default the caller's.")
@click.option(
    "--replicate-to",
    metavar="REGION",
    help="Make new keys multi-Region, and a replica of each multi-Region key in this Region.",
)
@click.option("--show-policy", is_flag=True, help="Print the key policy, and do nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@on_loop
async def create_aliases(
    *,
    dry_run: bool,
    rotation_days: int,
    create_role: tuple[str, ...],
    reveal_role: tuple[str, ...],
    rotate_role: tuple[str, ...],
    audit_role: tuple[str, ...],
    operate_role: tuple[str, ...],
    account: str | None,
    replicate_to: str | None,
    show_policy: bool,
    as_json: bool,
) -> None:
    """Create the pool's keys and aliases; safe to repeat.

    KMS_KEY_ALIAS_PREFIX and KMS_KEY_POOL_SIZE say which: raise the size and run it again to grow the pool.
    Existing aliases are used and never changed; the command reports how their keys differ from the settings.

    With roles, each key gets a policy that allows each role only its task, and none of them to schedule
    deletion, disable the key or change the policy. Without roles, IAM alone decides.

    With --replicate-to, each replica gets its primary's policy, tags and alias. KMS cannot convert a
    single-Region key: the command names such keys, says how to move their wallets, and exits 1.
    """
    settings = load_settings(database_url="postgresql://localhost/unused")  # keys come before it
    if replicate_to == settings.aws_region:
        raise click.BadParameter("must differ from AWS_REGION", param_hint="--replicate-to")
    roles = Roles(create_role, reveal_role, rotate_role, audit_role, operate_role)
    policy = await _policy(settings, roles, account) if roles.all else None
    if show_policy:
        tell(*json.dumps(policy, indent=2).splitlines())
        return
    administration = KeyAdministration(ControlPlane(settings))
    wanted = Wanted(settings.aliases, rotation_days, policy, multi_region=replicate_to is not None)
    provisioning = Provisioning(administration, wanted)
    planned = await _plan(provisioning, len(settings.aliases))
    done = planned if dry_run else await _carry_out(provisioning, planned)
    replicas = None
    if replicate_to is not None:
        there = KeyAdministration(ControlPlane(settings.alone_in(replicate_to)))
        replication = Replication(administration, there)
        replicas = await replicate(replication, done, dry_run=dry_run)
    if as_json:
        tell(json.dumps(_facts(done, replicas)))
    else:
        tell(*_report(done, dry_run=dry_run, default_policy=policy is None))
        tell(*report_replicas(replicas or [], dry_run=dry_run))
    if any(each.step is ReplicaStep.REFUSE for each in replicas or []):
        raise click.exceptions.Exit(1)


async def _policy(settings: Settings, roles: Roles, account: str | None) -> dict[str, Any]:
    if account is None:
        identity = await caller_identity(settings)
        return key_policy(f"arn:{identity.partition}:iam::{identity.account}:root", roles)
    partition = str(roles.all[0]).split(":")[1] if str(roles.all[0]).startswith("arn:") else "aws"
    return key_policy(f"arn:{partition}:iam::{account}:root", roles)


async def _plan(provisioning: Provisioning, keys: int) -> list[PlannedKey]:
    with Progress(console=progress_screen(), transient=True) as progress:
        task = progress.add_task("Looking at keys", total=keys)
        return await provisioning.plan(lambda: progress.advance(task))


async def _carry_out(provisioning: Provisioning, planned: Sequence[PlannedKey]) -> list[PlannedKey]:
    done: list[PlannedKey] = []
    tracked: Iterable[PlannedKey] = track(planned, "Making keys", console=progress_screen(), transient=True)
    try:
        for key in tracked:
            arn = await provisioning.carry_out(key)
            done.append(PlannedKey(key.alias, key.step, arn, has_alias=True, differences=key.differences))
    except AdministrationFailed:
        tell(*_report(done, dry_run=False, default_policy=False))
        warn(f"Stopped after {len(done)} of {len(planned)}; run it again to go on.")
        raise
    return done


def _report(keys: Sequence[PlannedKey], *, dry_run: bool, default_policy: bool) -> list[str]:
    lines = []
    for key in keys:
        word = f"would {key.step}" if dry_run else _DONE[key.step]
        lines.append(f"{key.alias:<40} {word:<15} {key.key_arn or ''}".rstrip())
        lines += [f"    differs: {difference}" for difference in key.differences]
    if default_policy and any(key.step is Step.CREATE for key in keys):
        lines.append(
            "New keys have KMS's default policy, so IAM alone decides who may use and delete them. "
            "--create-role, --reveal-role and --rotate-role split it."
        )
    return lines


def _facts(keys: Sequence[PlannedKey], replicas: Sequence[PlannedReplica] | None) -> list[dict[str, Any]]:
    facts: list[dict[str, Any]] = [
        {"alias": key.alias, "step": key.step, "keyId": key.key_arn, "differences": list(key.differences)}
        for key in keys
    ]
    for fact, replica in zip(facts, replicas or [], strict=False):
        fact["replica"] = {"step": replica.step, "keyId": replica.replica_arn, "reason": replica.reason}
    return facts
