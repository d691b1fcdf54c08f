"""The sentences of synthesized requirements, whole ones and planted ones, each with what a review says of it.

`concepts` draws from these tables and `author` recognises the drawn sentences. Plain data. No two phrases of one topic
get into the same requirements, so that nothing contradicts by accident.
"""

from __future__ import annotations

from dataclasses import dataclass

FUNCTIONAL = "functional_requirements"
NON_FUNCTIONAL = "non_functional_requirements"
CONSTRAINTS = "constraints"
SECTIONS = ((FUNCTIONAL, "FR"), (NON_FUNCTIONAL, "NFR"), (CONSTRAINTS, "C"))
"""The sections of the requirements in their order, each with the prefix of its ids."""


@dataclass(frozen=True)
class Phrase:
    """A sound requirement. `short` says it in an aligned item, `capability` in the vision; `numbers` fill `{n}`."""

    text: str
    short: str
    topic: str
    capability: str = ""
    numbers: tuple[int, ...] = ()


@dataclass(frozen=True)
class Vague:
    """A planted gap: a requirement that nobody can test. `lack` says what is missing, `action` what to do."""

    section: str
    text: str
    lack: str
    action: str
    topic: str


@dataclass(frozen=True)
class Clash:
    """A planted conflict: two requirements that can't both hold. `reason` says why; {n} occurs in `second` only."""

    first_section: str
    first: str
    second_section: str
    second: str
    reason: str
    topics: frozenset[str]
    numbers: tuple[int, ...] = ()


NEED_PHRASE = Phrase("Offer {need} to {others}.", "{need}", "need", "Built-in {need}")

SOUND: dict[str, tuple[Phrase, ...]] = {
    FUNCTIONAL: (
        Phrase("Record {things} on a phone with photos attached.", "records with photos", "device", "Mobile records"),
        Phrase("Show {actors} a daily board of open {things}.", "daily board of open work", "board", "A daily board"),
        Phrase(
            "Remind {others} {n} hours before {things} fall due.",
            "reminders {n} hours ahead",
            "remind",
            "Timely reminders",
            (2, 4, 12, 24, 48),
        ),
        Phrase("Import {things} from spreadsheets and flag bad rows.", "checked imports", "import", "Checked imports"),
        Phrase("Keep a dated history of changes to {things}.", "dated history", "retention", "A full history"),
        Phrase("Let {actors} and {others} comment on {things}.", "comments in place", "comment", "Shared comments"),
        Phrase("Search {things} by person, subject and date.", "search in three ways", "search", "Quick search"),
        Phrase("Work without a connection and synchronise later.", "offline work", "device", "Offline work"),
        Phrase("Print labels with scannable codes for {things}.", "scannable labels", "label", "Printed labels"),
        Phrase("Ask {others} to approve {things} before they count.", "approval first", "approve", "Simple approval"),
        Phrase("Forecast next month's load of {things}.", "monthly forecast", "forecast", "Load forecasts"),
        Phrase("Export {things} as spreadsheet files.", "spreadsheet export", "export", "Open exports"),
        Phrase("Draw {things} on a map in status colours.", "map with status colours", "place", "A coloured map"),
        Phrase("Suggest which of the {actors} should take on {things}.", "suggested owners", "assign", "Smart sharing"),
        Phrase("Send {others} a weekly summary of late {things}.", "weekly summary", "summary", "Weekly summaries"),
        Phrase("Scan paper forms and turn them into {things}.", "scanned paper forms", "scan", "Paper scanning"),
        Phrase("Refuse double entries of {things} and say why.", "no double entries", "double", "Clean entries"),
        Phrase("Give {actors} templates to start {things} from.", "ready templates", "template", "Ready templates"),
        Phrase("Collect signatures from {others} on screen.", "signatures on screen", "sign", "Signing on screen"),
        Phrase("Compare {things} of different years in a chart.", "yearly comparison", "chart", "Clear charts"),
    ),
    NON_FUNCTIONAL: (
        Phrase(
            "Every page opens within {n} seconds on a mobile line.",
            "pages within {n} seconds",
            "speed",
            numbers=(1, 2, 3, 4),
        ),
        Phrase(
            "The service is reachable 99.{n} percent of each month.",
            "99.{n} percent reachable",
            "availability",
            numbers=(2, 5, 7, 8, 9),
        ),
        Phrase(
            "Stored data is encrypted and keys change every {n} days.",
            "encryption with new keys",
            "security",
            numbers=(30, 60, 90, 180),
        ),
        Phrase("Backups are restored in a drill every {n} weeks.", "restore drills", "backup", numbers=(4, 6, 8, 12)),
        Phrase("All screens work with keyboard and screen reader.", "accessible screens", "access"),
        Phrase("{n} people can work at once without waiting.", "{n} at once", "load", numbers=(40, 150, 300, 900)),
        Phrase("Personal details are hidden from roles that need none.", "details hidden by role", "privacy"),
        Phrase("Error messages name the cause and the next step.", "clear error messages", "errors"),
        Phrase("New colleagues need {n} minutes of training.", "brief training", "learning", numbers=(20, 30, 45, 60)),
        Phrase("Access logs are kept for {n} months.", "kept access logs", "retention", numbers=(6, 12, 18, 24)),
        Phrase("Numbers and dates follow the habits of {region}.", "local formats", "format"),
        Phrase("Two releases a month reach all sites.", "regular releases", "releases"),
    ),
    CONSTRAINTS: (
        Phrase("All data stays on servers in {region}.", "local servers", "hosting"),
        Phrase(
            "Running costs stay under {n} thousand euros a year.", "capped costs", "cost", numbers=(15, 40, 90, 250)
        ),
        Phrase(
            "The first release is live within {n} months.", "release in {n} months", "launch", numbers=(4, 6, 8, 10)
        ),
        Phrase("Sign-in uses the existing identity provider.", "existing sign-in", "login"),
        Phrase("Only devices that {actors} already have are used.", "present devices", "device"),
        Phrase("No closed file format is used.", "open formats", "export"),
        Phrase("At most {n} sites take part in the pilot.", "small pilot", "pilot", numbers=(2, 3, 5)),
        Phrase("The purchasing rules of {segment} apply.", "purchasing rules", "purchase"),
        Phrase("The present bookkeeping package remains in use.", "present bookkeeping", "books"),
        Phrase("One part-time administrator must be enough.", "one administrator", "support"),
    ),
}

VAGUE = (
    Vague(
        NON_FUNCTIONAL, "It should be reasonably fast.", "no response time is given", "Set seconds in {id}.", "speed"
    ),
    Vague(
        NON_FUNCTIONAL, "Security should be good.", "no security measure is named", "Name measures in {id}.", "security"
    ),
    Vague(
        NON_FUNCTIONAL,
        "Availability must be high.",
        "no percentage is given",
        "Set a percentage in {id}.",
        "availability",
    ),
    Vague(
        NON_FUNCTIONAL, "It should be easy to learn.", "no training time is given", "Set minutes in {id}.", "learning"
    ),
    Vague(
        NON_FUNCTIONAL, "Many people can work with it.", "no number of people is given", "Set a number in {id}.", "load"
    ),
    Vague(
        FUNCTIONAL, "Connect to other tools where useful.", "no tool is named", "List the tools for {id}.", "connect"
    ),
    Vague(FUNCTIONAL, "Provide suitable reports.", "no report is described", "Describe each report of {id}.", "chart"),
    Vague(
        FUNCTIONAL,
        "Tell people when something important happens.",
        "no event is named",
        "List events in {id}.",
        "remind",
    ),
    Vague(FUNCTIONAL, "Handle special cases properly.", "no case is described", "Describe the cases of {id}.", "cases"),
    Vague(CONSTRAINTS, "Keep the costs low.", "no amount is given", "Set an amount in {id}.", "cost"),
    Vague(CONSTRAINTS, "Launch as soon as possible.", "no date is given", "Fix a date in {id}.", "launch"),
    Vague(CONSTRAINTS, "Follow the applicable rules.", "no rule is named", "Name the rules in {id}.", "purchase"),
)

CLASHES = (
    Clash(
        FUNCTIONAL,
        "Keep all {things} for ten years.",
        CONSTRAINTS,
        "Every record is deleted after {n} days.",
        "ten years of keeping against deletion after {n} days",
        frozenset({"retention", "chart", "forecast"}),
        (14, 30, 60, 90),
    ),
    Clash(
        FUNCTIONAL,
        "Hold {things} on the phone for days without a network.",
        CONSTRAINTS,
        "Nothing may be stored on a phone.",
        "storage on the phone is both asked for and forbidden",
        frozenset({"device"}),
    ),
    Clash(
        FUNCTIONAL,
        "Hand {things} to partners abroad every night.",
        CONSTRAINTS,
        "No data may leave {region}.",
        "transfer abroad against data that must stay",
        frozenset({"hosting"}),
    ),
    Clash(
        NON_FUNCTIONAL,
        "The service answers day and night all year.",
        CONSTRAINTS,
        "Servers are switched off at weekends.",
        "service all year against servers off at weekends",
        frozenset({"availability"}),
    ),
    Clash(
        FUNCTIONAL,
        "Publish {things} openly on the web.",
        CONSTRAINTS,
        "Only staff may see {things}.",
        "open publication against access for staff only",
        frozenset({"privacy", "publish", "login"}),
    ),
    Clash(
        FUNCTIONAL,
        "Let visitors take part without an account.",
        NON_FUNCTIONAL,
        "Everyone signs in with a personal account.",
        "visits without an account against a personal one for all",
        frozenset({"login"}),
    ),
    Clash(
        NON_FUNCTIONAL,
        "Requests are answered within seconds.",
        CONSTRAINTS,
        "A clerk checks each answer for {n} hours before it is sent.",
        "answers in seconds against a check of {n} hours",
        frozenset({"speed"}),
        (4, 8, 24),
    ),
    Clash(
        FUNCTIONAL,
        "Translate texts with a public online service.",
        CONSTRAINTS,
        "No text may be sent to outside services.",
        "outside translation against texts that stay inside",
        frozenset({"hosting", "format"}),
    ),
    Clash(
        FUNCTIONAL,
        "Follow the position of {others} all day.",
        CONSTRAINTS,
        "Nobody's position may be recorded.",
        "positions are both followed and never recorded",
        frozenset({"place", "privacy"}),
    ),
    Clash(
        NON_FUNCTIONAL,
        "A help desk answers calls around the clock.",
        CONSTRAINTS,
        "No staff may be hired for support.",
        "a help desk around the clock without staff",
        frozenset({"support", "cost"}),
    ),
    Clash(
        FUNCTIONAL,
        "Let {actors} change {things} after approval.",
        NON_FUNCTIONAL,
        "What was approved can never be changed.",
        "changes after approval are both allowed and ruled out",
        frozenset({"approve", "retention"}),
    ),
    Clash(
        FUNCTIONAL,
        "Delete personal details as soon as {others} ask.",
        NON_FUNCTIONAL,
        "No entry is ever removed.",
        "deletion on request against entries that stay for ever",
        frozenset({"privacy", "retention"}),
    ),
)
