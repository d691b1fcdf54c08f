"""The words of synthesized concepts: domains, places, tiers and the sentences that a concept can be said in.

`concepts` draws from these tables and `author` reads the drawn words back. Plain data; knows no randomness and no YAML.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True)
class Domain:
    """A field of work: words that start a product's name, what is handled, and who handles it."""

    names: tuple[str, ...]
    things: str
    actors: str
    others: str


@dataclass(frozen=True)
class Tier:
    """A size of product: how a concept says it, and how many requirements of each section it has."""

    name: str
    sayings: tuple[str, ...]
    functional: int
    non_functional: int
    constraints: int


TIERS = (
    Tier("simple", ("for one small team", "at a single site", "as a light first step"), 3, 1, 1),
    Tier("medium", ("across several sites", "for a handful of teams", "as a shared regional service"), 3, 2, 2),
    Tier("corporate", ("as a group-wide service", "for thousands of staff", "under central governance"), 4, 3, 2),
)

DOMAINS = (
    Domain(("Harvest", "Orchard", "Acre"), "crop batches", "growers", "agronomists"),
    Domain(("Ward", "Rota", "Bedside"), "shift rosters", "nurses", "ward managers"),
    Domain(("Gallery", "Loan", "Exhibit"), "museum loans", "registrars", "curators"),
    Domain(("Paddock", "Vet", "Stable"), "treatment plans", "veterinarians", "animal owners"),
    Domain(("Berth", "Quay", "Harbour"), "berth bookings", "terminal planners", "pilots"),
    Domain(("Schoolrun", "Satchel", "Busline"), "pupil bus routes", "drivers", "school offices"),
    Domain(("Permit", "Scaffold", "Sitebook"), "building permits", "site engineers", "inspectors"),
    Domain(("Brew", "Malt", "Cask"), "brew logs", "brewers", "quality leads"),
    Domain(("Callsheet", "Reel", "Backlot"), "shooting schedules", "producers", "crew leads"),
    Domain(("Meter", "Aqua", "Mainline"), "meter readings", "field technicians", "billing clerks"),
    Domain(("Turbine", "Rotor", "Windpark"), "turbine inspections", "rope technicians", "asset managers"),
    Domain(("Stack", "Reader", "Bookcart"), "library loans", "librarians", "readers"),
    Domain(("Trial", "Cohort", "Visit"), "trial visits", "study nurses", "sponsors"),
    Domain(("Linen", "Roomturn", "Concierge"), "room cleanings", "housekeepers", "front desks"),
    Domain(("Pledge", "Giving", "Donor"), "donation pledges", "fundraisers", "treasurers"),
    Domain(("Docket", "Brief", "Casefile"), "case bundles", "paralegals", "lawyers"),
    Domain(("Track", "Sleeper", "Signal"), "track defects", "track crews", "network controllers"),
    Domain(("Kerbside", "Refuse", "Roundsman"), "collection rounds", "loaders", "depot planners"),
    Domain(("Apprentice", "Mentor", "Guild"), "training logs", "mentors", "apprentices"),
    Domain(("Claim", "Adjuster", "Settle"), "damage claims", "claims handlers", "adjusters"),
    Domain(("Sample", "Assay", "Bench"), "sample requests", "lab analysts", "researchers"),
    Domain(("Fixit", "Workbench", "Repair"), "repair orders", "mechanics", "shop assistants"),
    Domain(("Tenant", "Lease", "Doorstep"), "tenant enquiries", "caseworkers", "landlords"),
    Domain(("Booth", "Expo", "Aisle"), "stand bookings", "exhibitors", "hall managers"),
    Domain(("Kitchen", "Menu", "Pantry"), "meal orders", "cooks", "dietitians"),
    Domain(("Lifeguard", "Lido", "Poolside"), "swimming courses", "instructors", "pool managers"),
)

NAME_ENDINGS = ("Desk", "Ledger", "Planner", "Board", "Circle", "Pilot", "Register", "Compass", "Notebook", "Relay")

SEGMENTS = (
    "family firms",
    "city councils",
    "public trusts",
    "regional cooperatives",
    "research institutes",
    "member associations",
    "franchise networks",
    "contract service firms",
    "independent operators",
    "state agencies",
    "charities",
    "listed companies",
    "university departments",
    "rural districts",
    "training centres",
    "volunteer groups",
)

REGIONS = (
    "the Nordics",
    "Iberia",
    "the Baltic states",
    "East Africa",
    "Canada",
    "Australia",
    "Japan",
    "the Alps",
    "Chile",
    "Ireland",
    "South Korea",
    "Benelux",
    "the Gulf states",
    "New Zealand",
    "Poland",
    "the Caribbean",
    "West Africa",
    "Scotland",
)

FOCUSES = (
    "clean handovers",
    "short waiting times",
    "lower running costs",
    "full traceability",
    "early warnings",
    "fair allocation of work",
    "paperless records",
    "calm audits",
    "fewer repeat visits",
    "smooth seasonal peaks",
    "honest public reporting",
    "safer working days",
)

NEEDS = (
    "card payments",
    "video calls",
    "voice input",
    "loyalty points",
    "currency conversion",
    "shared calendars",
    "weather alerts",
    "drone photos",
    "group bookings",
    "waiting lists",
)
"""What a concept may ask for beyond the usual; nothing else in the vocabulary provides one of them."""

SAYINGS = (
    "{name} for {segment} in {region}, {tier}. {Actors} and {others} handle {things} in it, with weight on {focus}.",
    "{name} helps {actors} of {segment} in {region} with {things}, {tier}. {Others} join in; the aim is {focus}.",
    "Build {name}, {tier}: {segment} in {region} want {focus} when {actors} and {others} work on {things}.",
    "A product named {name} where {actors} keep {things} and {others} follow them, {tier}, made for {segment} in "
    "{region} that need {focus}.",
)
NEED_SAYING = " It must also offer {need}."

PRIORITIES = ("High", "Medium", "Medium", "Low")

MAX_SENTENCE_CHARACTERS = 400
"""Longer text is not read; a filled template has at most 279."""


def fill(template: str, words: Mapping[str, str]) -> str:
    """A template with its words; a slot in capitals (`{Actors}`) begins with a capital."""
    return template.format_map({**words, **{name.capitalize(): capital(text) for name, text in words.items()}})


def capital(text: str) -> str:
    """`text` with a capital first letter, the rest as it is."""
    return text[:1].upper() + text[1:]


def read(template: str, text: str) -> dict[str, str] | None:
    """The words that `fill` put into a template, slots in lower case; None if the text is of another template."""
    # A user's own concept may be a whole document, over which a pattern of many slots would backtrack for hours.
    match = _pattern(template).fullmatch(text) if len(text) <= MAX_SENTENCE_CHARACTERS else None
    if match is None:
        return None
    return {
        name.lower(): word[:1].lower() + word[1:] if name[0].isupper() else word
        for name, word in match.groupdict().items()
    }


@cache
def _pattern(template: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)\}", template)
    slots = {part: r"\d+" if part == "n" else ".+?" for part in parts[1::2]}
    pieces = (f"(?P<{part}>{slots[part]})" if index % 2 else re.escape(part) for index, part in enumerate(parts))
    return re.compile("".join(pieces))
