"""What a report takes from the run folder where the command line does not say it: the judge, and the metric."""

from editbench.config.load import read_metric
from editbench.config.schema import ComponentConfig, Config
from editbench.results import judges_of, only_judge
from editbench.run.folder import RunDir


def judge_of(config: Config, folder: RunDir) -> tuple[str, str]:
    """Name the judge whose judgments count: the one that is asked for, else the one that judged last.

    Returns:
        Its name, and a sentence if the run has others too and none was asked for.

    Raises:
        UserError: several have judged, and it is not on record who was the last.
    """
    judges = judges_of(folder)
    if not judges or config.chosen & {"judge", "experiment"}:
        return config.judge.name, ""
    last = (folder.read_config().get("judge") or {}).get("name")
    name = last if last in judges else only_judge(folder)
    others = [other for other in judges if other != name]
    if not others:
        return name, ""
    return name, f"judged by {name}, which judged last; judge=… gives the report of {' or '.join(others)}"


def metric_of(config: Config, folder: RunDir) -> tuple[ComponentConfig | None, str]:
    """Give what measures the edits: the metric that is asked for, which is kept, else the one that the run has.

    Returns:
        The metric or None, and a sentence if another one is asked for than the run had.
    """
    own = read_metric(folder.read_metric())
    if not config.chosen & {"metric", "experiment"}:
        return own, ""
    same = own == read_metric(config.resolved)  # as it is kept, without secrets
    if not same:
        folder.write_metric(config.resolved)
    if own is None or same:
        return config.metric, ""
    now = f"by {config.metric.name}" if config.metric else "by no metric"
    return config.metric, f"edits are measured {now}, and no longer by {own.name} as the run was; metric=… changes it"
