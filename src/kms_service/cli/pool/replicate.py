"""The replicas that `pool create-aliases --replicate-to` makes, and what it says of them."""

from collections.abc import Sequence

from rich.progress import Progress

from kms_service.cli.lines import warn
from kms_service.cli.screen import progress_screen
from kms_service.kms.control_plane.administration import AdministrationFailed
from kms_service.quantity import quantity
from kms_service.service.pool.provision import PlannedKey
from kms_service.service.pool.replicate import PlannedReplica, ReplicaStep, Replication

_DONE = {
    ReplicaStep.REPLICATE: "replicated",
    ReplicaStep.NAME: "named",
    ReplicaStep.KEEP: "is there",
    ReplicaStep.REFUSE: "not possible",
}
_MOVE = """\
What lies under a key of one Region moves to multi-Region keys like this:
  1. Raise KMS_KEY_POOL_SIZE by as many keys, and run this again: new keys are multi-Region.
  2. Let the service know of the new size: restart it.
  3. kms-service pool drain ALIAS, for each key named above: it takes no more new wallets.
  4. kms-service rotation start --from ALIAS --no-dry-run, likewise: kms:ReEncrypt moves its wallets.
  5. kms-service pool retire ALIAS says when nothing is left."""


async def replicate(
    replication: Replication, keys: Sequence[PlannedKey], *, dry_run: bool
) -> list[PlannedReplica]:
    """Plan the replicas of these keys, and make them unless it is a dry run.

    Raises:
        AdministrationFailed: a KMS call failed; running this again continues.
    """
    with Progress(console=progress_screen(), transient=True) as progress:
        task = progress.add_task("Looking at replicas", total=len(keys))
        planned = await replication.plan(
            [(key.alias, key.key_arn) for key in keys], lambda: progress.advance(task)
        )
        if dry_run:
            return planned
        task = progress.add_task("Making replicas", total=len(planned))
        for number, each in enumerate(planned):
            try:
                if each.step is not ReplicaStep.REFUSE:
                    await replication.carry_out(each)
            except AdministrationFailed:
                replicas = quantity(len(planned), "replica", "replicas")
                warn(f"Stopped after {number} of {replicas}; run it again.")
                raise
            progress.advance(task)
    return planned


def report_replicas(replicas: Sequence[PlannedReplica], *, dry_run: bool) -> list[str]:
    """One line per key, and how to move the wallets of keys that cannot have replicas."""
    lines = []
    for each in replicas:
        undone = dry_run and each.step in (ReplicaStep.REPLICATE, ReplicaStep.NAME)
        word = f"would {each.step}" if undone else _DONE[each.step]
        lines.append(f"{each.alias:<40} {word:<15} {each.replica_arn or ''}".rstrip())
        if each.reason:
            lines.append(f"    {each.reason}")
    if any(each.step is ReplicaStep.REFUSE and each.replica_arn is None for each in replicas):
        lines.append(_MOVE)
    return lines
