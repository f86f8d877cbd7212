"""Workflow runs, issues and audit-log entries of GitHub."""

from functools import partial

from lake.contracts.base import Classification, Contract, Field, Model, Name, OptionalInt, Timestamp

TITLE_CHARACTERS = 4_000

_contract = partial(
    Contract,
    version="1.0",
    owner="platform",
    classification=Classification.CONFIDENTIAL,
    retention_days=365,
    partition=("day(timestamp)",),
    freshness_s=24 * 3600,
    raw_retention_days=90,
)


class WorkflowRuns(Model):
    """One row per observed state of an attempt of a workflow run: queued, running, completed."""

    repository: str = Name("owner/name")
    run_id: int = Field("The run")
    attempt: int = Field("Number of the attempt, from 1", ge=1)
    updated_at: Timestamp = Field("When it reached this state")
    timestamp: Timestamp = Field("When the run was created")
    started_at: Timestamp = Field("When the attempt started", nullable=True)
    workflow: str = Name("The workflow's name", nullable=True)
    event: str = Name("What triggered it", nullable=True)
    branch: str = Name("Branch or tag", nullable=True)
    commit: str = Name("The commit that it ran on", nullable=True)
    status: str = Name("queued, in_progress, completed, ...")
    conclusion: str = Name("success, failure, ...; null until completed", nullable=True)
    actor: str = Name("Login of the user who triggered it", pii=True, nullable=True)


class GithubIssues(Model):
    """One row per observed state of an issue or a pull request."""

    repository: str = Name("owner/name")
    number: int = Field("Its number", ge=1)
    timestamp: Timestamp = Field("When it was changed last")
    created_at: Timestamp = Field("When it was opened")
    closed_at: Timestamp = Field("When it was closed", nullable=True)
    pull_request: bool = Field("Whether it is a pull request")
    state: str = Name("open or closed")
    state_reason: str = Name("completed, not_planned, reopened", nullable=True)
    title: str = Field("Its title", pii=True, max_length=TITLE_CHARACTERS)
    labels: str = Field("Names of its labels, as JSON in order", max_length=TITLE_CHARACTERS)
    comments: OptionalInt = Field("How many", ge=0, nullable=True)
    actor: str = Name("Login of the user who opened it", pii=True, nullable=True)


class GithubAudit(Model):
    """One row per entry of an organisation's audit log."""

    document_id: str = Name("GitHub's id of the entry")
    timestamp: Timestamp = Field("When it was done")
    organisation: str = Name("The organisation")
    action: str = Name("What was done, for example repo.create")
    actor: str = Name("Login of the user who did it", pii=True, nullable=True)
    repository: str = Name("owner/name of the repository concerned", nullable=True)
    subject: str = Name("Login of the user concerned", pii=True, nullable=True)


WORKFLOW_RUNS = _contract(
    name="processed.workflow_runs",
    model=WorkflowRuns,
    key=("repository", "run_id", "attempt", "updated_at", "status"),
    source="workflow-runs",
)
GITHUB_ISSUES = _contract(
    name="processed.github_issues",
    model=GithubIssues,
    key=("repository", "number", "timestamp"),
    source="github-issues",
)
GITHUB_AUDIT = _contract(name="processed.github_audit", model=GithubAudit, key=("document_id",), source="github-audit")
