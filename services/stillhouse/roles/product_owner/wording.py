"""The sentences that the scripted author writes with: templates by field, and by status for the review.

Plain data for `author`. Each template is true of every example of its status. They are short on purpose: an answer is
what a student on a laptop must write within seconds.
"""

from __future__ import annotations

MAX_NAME_CHARACTERS = 60
SUMMARY_CHARACTERS = 120
NARRATIVE_CHARACTERS = 80
"""Least length of a product summary and a narrative; the metric counts them, and would pay for a longer narrative."""

STRANGE_WORDS = {
    "name": "New product",
    "segment": "its customers",
    "region": "its market",
    "actors": "operators",
    "others": "team leads",
    "things": "daily tasks",
    "focus": "reliable results",
}
"""Words for a concept that is not the vocabulary's."""

PLAIN = "serves the concept"
MISSING = "No requirement covers {need}"
ADD = "Add a requirement for {need}."
SETTLE = "Decide whether {0} or {1} holds."

SUMMARIES = (
    "{name} gives {actors} and {others} one place for {things}, so that {segment} in {region} reach {focus}.",
    "With {name}, {actors} and {others} of {segment} in {region} share all {things}. The aim is {focus}.",
    "{name} replaces scattered notes: {actors} in {region} share {things} with {others} and reach {focus}.",
    "For {segment} in {region}, {name} turns {things} into a routine of {actors} and {others} for {focus}.",
)
SUMMARY_ENDINGS = (
    "It stays small and easy to run.",
    "It starts with daily work.",
    "Nobody asks twice.",
    "It fits present habits.",
)
VALUES = (
    "Less time for {things}",
    "{Focus}",
    "One shared truth",
    "Fewer calls and lost notes",
    "Decisions based on facts",
    "Calmer working days",
    "Less searching",
    "Clear duties",
)
CAPABILITIES = ("One record of {things}", "Tasks for {actors}", "An overview for {others}")
NON_GOALS = (
    "Payroll",
    "A web shop",
    "Custom hardware",
    "Other markets",
    "Moving old archives",
    "Replacing {actors}",
)
METRICS = (
    "{n}% less time",
    "{n}% fewer errors",
    "{n} new sites",
    "Most {actors} use it weekly",
    "Most {others} rate it well",
    "{n}% fewer delays",
    "{n}% fewer complaints",
)

COUNTS_SOUND = (
    "All {all} requirements serve the vision.",
    "All {all} requirements fit the concept.",
    "Each of {all} requirements helps.",
)
COUNTS = (
    "{sound} of {all} requirements serve the vision.",
    "{sound} of {all} requirements are ready.",
    "{sound} of {all} requirements fit the concept.",
)
VERDICTS = {
    "aligned": ("The scope is right.", "Work can start.", "The limits are clear.", "Nothing is missing."),
    "needs_adjustment": ("Something is missing.", "A gap needs an answer.", "One point is still open."),
    "misaligned": ("A contradiction comes first.", "Two of them can't both hold.", "One decision is needed."),
}

NEXT_STEPS = (
    "Start with {id}.",
    "Agree on a test for {id}.",
    "Show a draft of {id}.",
    "Estimate {id}.",
    "Name an owner for {id}.",
    "Review {id} after the pilot.",
)
PLAIN_STEPS = ("Show a first draft to those concerned.", "Write a test for each requirement.")

NARRATIVES = {
    "aligned": (
        "The functions cover the work of {actors}, and the limits can be tested. {name} can be planned.",
        "The requirements are clear, fit {segment} and leave room for later wishes of {others}.",
        "{name} has a sound base that helps with {things}. A first release can be estimated.",
    ),
    "needs_adjustment": (
        "Most of it helps {actors} with {things}. What is open must be completed before a plan.",
        "The direction is right for {segment}. Once the gap is closed, {name} can be planned.",
        "The way to {focus} is good but not complete. {Others} need an answer to what is open.",
    ),
    "misaligned": (
        "Two requirements exclude each other, so {name} can't be built as described. The rest helps {actors}.",
        "Most wishes fit {segment}, but no design can meet two that demand opposite things.",
        "The concept is good, but two requirements contradict each other. {Others} should settle that.",
    ),
}
NARRATIVE_ENDINGS = ("The order can follow the priorities.", "The next step is small.", "{Others} stay involved.")
