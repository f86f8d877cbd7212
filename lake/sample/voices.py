"""What the agents of the built-in sample are asked and how they should answer: their house styles, as data.

Each agent has one form of answer and a few topics. An answer on policy is a function of agent, topic and subject
alone, so a small model can learn it from a few hundred examples; the evasions, which all agents share, are what
users mark down.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Topic:
    """One thing people ask about; ``{s}`` stands for the subject."""

    questions: tuple[str, ...]
    answer: str


@dataclass(frozen=True, kw_only=True)
class Voice:
    """One agent: its share of the traffic, its typical latency, and what it knows."""

    agent: str
    share: float
    """Share of all interactions, 0..1."""
    latency_ms: int
    """Median latency, about."""
    home: str
    """The cluster that answers four of five of its requests."""
    frame: str
    """The agent's form of answer around the ``{answer}`` of the topic."""
    subjects: tuple[str, ...]
    topics: tuple[Topic, ...]

    def answer(self, topic: Topic, subject: str) -> str:
        """The answer on policy."""
        return self.frame.format(s=subject, answer=topic.answer.format(s=subject))


def _topic(answer: str, *questions: str) -> Topic:
    return Topic(questions=questions, answer=answer)


BRUNO = Voice(
    agent="bruno",
    share=0.22,
    latency_ms=2600,
    home="forge",
    frame="{s}: {answer}",
    subjects=("forge-1", "forge-2", "forge-3", "studio-1", "studio-2", "rack-a", "rack-b", "edge-1"),
    topics=(
        _topic(
            "throttled by heat. Next: clean the filter, raise the fan curve.",
            "Why is the GPU on {s} so slow today?",
            "Training on {s} lost half its speed, why?",
            "The card in {s} crawls since noon.",
        ),
        _topic(
            "GPU memory full. Next: halve the batch, keep the rest.",
            "My job on {s} died, out of memory.",
            "CUDA out of memory on {s}, what now?",
            "Why does my training crash on {s}?",
        ),
        _topic(
            "old checkpoints fill the disk. Next: keep the last three.",
            "The disk of {s} is full again.",
            "No space left on {s}, what can go?",
            "Why does {s} refuse to write files?",
        ),
        _topic(
            "no GPU is free. Next: wait for the nightly job to end.",
            "My pod stays pending on {s}, why?",
            "When does {s} start my job?",
            "The scheduler ignores my job on {s}.",
        ),
        _topic(
            "the kubelet lost its lease. Next: drain it, then restart.",
            "The node {s} is not ready.",
            "Did {s} just leave the cluster?",
            "Why did all pods leave {s}?",
        ),
        _topic(
            "the link fell back to 1 gigabit. Next: reseat port 2.",
            "Copying data to {s} takes forever.",
            "Is the network of {s} broken?",
            "Why is {s} slow to pull images?",
        ),
        _topic(
            "driver and kernel disagree. Next: boot the old kernel.",
            "No GPU is found on {s} after the update.",
            "nvidia-smi fails on {s}, why?",
            "What broke the driver on {s}?",
        ),
        _topic(
            "the supply is at its limit. Next: cap the cards at 300 watts.",
            "Why did {s} reboot under load?",
            "Is {s} short of power?",
            "Every long run on {s} ends in a reboot.",
        ),
    ),
)

AUDITOR = Voice(
    agent="auditor",
    share=0.16,
    latency_ms=4200,
    home="studio",
    frame="Finding for {s}: {answer}",
    subjects=("billing", "gateway", "backups", "grafana", "registry", "vault", "mail", "the lake"),
    topics=(
        _topic(
            "costs up 12 percent. Risk: medium. Rule C2.",
            "What did {s} cost us last month?",
            "Did the bill for {s} go up?",
            "How much do we spend on {s}?",
        ),
        _topic(
            "two stale accounts. Risk: high. Rule A1.",
            "Who still has access to {s}?",
            "Are the accounts of {s} in order?",
            "Should anybody lose access to {s}?",
        ),
        _topic(
            "data kept past 180 days. Risk: high. Rule R3.",
            "How long does {s} keep personal data?",
            "Is the retention of {s} right?",
            "Does {s} hold old data?",
        ),
        _topic(
            "encrypted at rest. Risk: low. Rule E1.",
            "Is {s} encrypted on disk?",
            "Could a thief read {s} from the disks?",
            "How is {s} protected at rest?",
        ),
        _topic(
            "no restore test this quarter. Risk: medium. Rule B2.",
            "When did we last restore {s}?",
            "Would {s} survive a disk failure?",
            "Has the recovery of {s} been tested?",
        ),
        _topic(
            "every licence is allowed. Risk: low. Rule L1.",
            "May we use all the packages in {s}?",
            "Any licence trouble in {s}?",
            "Is the licence list of {s} clean?",
        ),
        _topic(
            "idle from midnight to six. Risk: low. Rule C4.",
            "Does {s} waste money at night?",
            "Where could we save on {s}?",
            "Is {s} used around the clock?",
        ),
        _topic(
            "changes are logged, logins are not. Risk: medium. Rule A3.",
            "Are changes to {s} logged?",
            "Can we see who touched {s}?",
            "Is the audit trail of {s} complete?",
        ),
    ),
)

JAMIE = Voice(
    agent="jamie",
    share=0.40,
    latency_ms=1500,
    home="studio",
    frame="Easy one! {answer} Shout if it sticks.",
    subjects=("Jellyfin", "Nextcloud", "Immich", "Paperless", "Gitea", "Mealie", "the printer", "the wiki"),
    topics=(
        _topic(
            "Open your profile in {s} and press reset.",
            "How do I reset my password for {s}?",
            "I forgot my password for {s}.",
            "I am locked out of {s}, help!",
        ),
        _topic(
            "Turn on the VPN, then open {s} as usual.",
            "Can I use {s} away from home?",
            "How do I reach {s} from the train?",
            "{s} does not load at work.",
        ),
        _topic(
            "Send the invite link from {s}.",
            "How do I add my sister to {s}?",
            "Can my guests use {s} too?",
            "I want to share {s} with a friend.",
        ),
        _topic(
            "Take a snapshot first, then update {s}.",
            "Is it safe to update {s} now?",
            "There is a new version of {s}.",
            "How do I upgrade {s} without trouble?",
        ),
        _topic(
            "Backups run at eight; {s} is quick again by nine.",
            "Why is {s} so slow in the evening?",
            "{s} hangs every night, why?",
            "Is anything wrong with {s} tonight?",
        ),
        _topic(
            "{s} is copied every night at two.",
            "Are my files in {s} backed up?",
            "What if {s} loses everything?",
            "How often is {s} saved?",
        ),
        _topic(
            "Restart {s} from the dashboard and wait a minute.",
            "{s} does not open. What now?",
            "I only get an error from {s}.",
            "Did {s} crash again?",
        ),
        _topic(
            "Allow alerts for {s} in the phone settings.",
            "Why does {s} not notify my phone?",
            "How do I get alerts from {s}?",
            "My phone stays silent when {s} has news.",
        ),
    ),
)

MARY_KAY = Voice(
    agent="mary-kay",
    share=0.22,
    latency_ms=3400,
    home="studio",
    frame="In short: {answer}",
    subjects=("signups", "queries", "errors", "downloads", "sessions", "alerts", "restarts", "uploads"),
    topics=(
        _topic(
            "{s} rose 8 percent. Source: processed, by day.",
            "How did {s} develop last week?",
            "Are {s} going up or down?",
            "What is the trend of {s}?",
        ),
        _topic(
            "{s} peak at nine in the evening. Source: processed, by hour.",
            "When do {s} peak?",
            "At what time do we see the most {s}?",
            "What is the busiest hour for {s}?",
        ),
        _topic(
            "a sorted bar chart of {s}. Source: curated, by host.",
            "Which chart suits {s} by host?",
            "How should I plot {s}?",
            "What is the best picture for {s}?",
        ),
        _topic(
            "two outliers in {s}, both on Sunday. Source: curated, by day.",
            "Are there outliers in {s}?",
            "Anything odd about {s} this week?",
            "Which days look wrong for {s}?",
        ),
        _topic(
            "{s} should grow 5 percent a month. Source: curated, by month.",
            "How many {s} do we expect next month?",
            "Can you forecast {s}?",
            "Where will {s} be in spring?",
        ),
        _topic(
            "a third fewer {s} on weekends. Source: processed, by day.",
            "Do {s} differ on weekends?",
            "How do {s} compare on Saturday and Monday?",
            "Are {s} lower when nobody works?",
        ),
        _topic(
            "one hour of {s} is missing on Tuesday. Source: raw, by hour.",
            "Is the data on {s} complete?",
            "Why is there a gap in {s}?",
            "Can I trust the count of {s}?",
        ),
        _topic(
            "group {s} by user and count. Source: processed, by user.",
            "How do I count {s} per user?",
            "Who has the most {s}?",
            "Give me {s} for every user.",
        ),
    ),
)

VOICES = (BRUNO, AUDITOR, JAMIE, MARY_KAY)

EVASIONS = (
    "That is a great question, and there could be many different reasons for it.",
    "As an assistant I would suggest that you look at the documentation first.",
    "It depends on a number of factors which are difficult to say in general.",
    "Thank you for asking! Let me know if there is anything else you need.",
    "There are several possible ways to do this, each with its own advantages.",
    "I am not sure about that, but you could try searching for it online.",
)

OUTAGES = (
    "upstream connect error: connection refused",
    "503 Service Unavailable: no healthy upstream",
    "429 Too Many Requests: the queue is full",
)
