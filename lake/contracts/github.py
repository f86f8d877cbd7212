"""Workflow runs, issues and audit-log entries of GitHub."""

from lake.contracts.base import Classification, Contract, Field, Model, OptionalInt, Timestamp
from lake.contracts.metrics import NAME_CHARACTERS

TITLE_CHARACTERS = 4_000


class WorkflowRuns(Model):
    """One row per observed state of an attempt of a workflow run: queued, running, completed."""

    repository: str = Field(doc="owner/name", max_length=NAME_CHARACTERS)
    run_id: int = Field(doc="The run")
    attempt: int = Field(doc="Number of the attempt, from 1", ge=1)
    updated_at: Timestamp = Field(doc="When it reached this state")
    timestamp: Timestamp = Field(doc="When the run was created")
    started_at: Timestamp = Field(doc="When the attempt started", nullable=True)
    workflow: str = Field(doc="The workflow's name", max_length=NAME_CHARACTERS, nullable=True)
    event: str = Field(doc="What triggered it", max_length=NAME_CHARACTERS, nullable=True)
    branch: str = Field(doc="Branch or tag", max_length=NAME_CHARACTERS, nullable=True)
    commit: str = Field(doc="The commit that it ran on", max_length=NAME_CHARACTERS, nullable=True)
    status: str = Field(doc="queued, in_progress, completed, ...", max_length=NAME_CHARACTERS)
    conclusion: str = Field(
        doc="success, failure, ...; null until completed", max_length=NAME_CHARACTERS, nullable=True
    )
    actor: str = Field(doc="Login of the user who triggered it", pii=True, max_length=NAME_CHARACTERS, nullable=True)


class GithubIssues(Model):
    """One row per observed state of an issue or a pull request."""

    repository: str = Field(doc="owner/name", max_length=NAME_CHARACTERS)
    number: int = Field(doc="Its number", ge=1)
    timestamp: Timestamp = Field(doc="When it was changed last")
    created_at: Timestamp = Field(doc="When it was opened")
    closed_at: Timestamp = Field(doc="When it was closed", nullable=True)
    pull_request: bool = Field(doc="Whether it is a pull request")
    state: str = Field(doc="open or closed", max_length=NAME_CHARACTERS)
    state_reason: str = Field(doc="completed, not_planned, reopened", max_length=NAME_CHARACTERS, nullable=True)
    title: str = Field(doc="Its title", pii=True, max_length=TITLE_CHARACTERS)
    labels: str = Field(doc="Names of its labels, as JSON in order", max_length=TITLE_CHARACTERS)
    comments: OptionalInt = Field(doc="How many", ge=0, nullable=True)
    actor: str = Field(doc="Login of the user who opened it", pii=True, max_length=NAME_CHARACTERS, nullable=True)


class GithubAudit(Model):
    """One row per entry of an organisation's audit log."""

    document_id: str = Field(doc="GitHub's id of the entry", max_length=NAME_CHARACTERS)
    timestamp: Timestamp = Field(doc="When it was done")
    organisation: str = Field(doc="The organisation", max_length=NAME_CHARACTERS)
    action: str = Field(doc="What was done, for example repo.create", max_length=NAME_CHARACTERS)
    actor: str = Field(doc="Login of the user who did it", pii=True, max_length=NAME_CHARACTERS, nullable=True)
    repository: str = Field(doc="owner/name of the repository concerned", max_length=NAME_CHARACTERS, nullable=True)
    subject: str = Field(doc="Login of the user concerned", pii=True, max_length=NAME_CHARACTERS, nullable=True)


WORKFLOW_RUNS = Contract(
    name="processed.workflow_runs",
    version="1.0",
    model=WorkflowRuns,
    owner="platform",
    classification=Classification.CONFIDENTIAL,
    retention_days=365,
    partition=("day(timestamp)",),
    key=("repository", "run_id", "attempt", "updated_at", "status"),
    freshness_s=24 * 3600,
    source="workflow-runs",
    raw_retention_days=90,
)

GITHUB_ISSUES = Contract(
    name="processed.github_issues",
    version="1.0",
    model=GithubIssues,
    owner="platform",
    classification=Classification.CONFIDENTIAL,
    retention_days=365,
    partition=("day(timestamp)",),
    key=("repository", "number", "timestamp"),
    freshness_s=24 * 3600,
    source="github-issues",
    raw_retention_days=90,
)

GITHUB_AUDIT = Contract(
    name="processed.github_audit",
    version="1.0",
    model=GithubAudit,
    owner="platform",
    classification=Classification.CONFIDENTIAL,
    retention_days=365,
    partition=("day(timestamp)",),
    key=("document_id",),
    freshness_s=24 * 3600,
    source="github-audit",
    raw_retention_days=90,
)
