"""One example with its whole answer, as the prompt for a teacher shows it: a synthesized concept, a gap, a conflict.

Plain data for `teaching`. The scripted author wrote the answer; it is fixed text, so that the prompt stays the same.
"""

from __future__ import annotations

from stillhouse.roles.product_owner.signature import CONCEPT, REQUIREMENTS

INPUTS = {
    CONCEPT: (
        "Build Brew Notebook, as a light first step: training centres in Canada want full traceability when brewers "
        "and quality leads work on brew logs."
    ),
    REQUIREMENTS: """\
title: Brew Notebook - Full traceability
functional_requirements:
- id: FR001
  description: Export brew logs as spreadsheet files.
  priority: Low
- id: FR002
  description: Import brew logs from spreadsheets and flag bad rows.
  priority: Medium
- id: FR003
  description: Hold brew logs on the phone for days without a network.
  priority: Medium
non_functional_requirements:
- id: NFR001
  description: It should be reasonably fast.
  priority: Medium
constraints:
- id: C001
  description: Nothing may be stored on a phone.
  priority: Low""",
}

ANSWER = """\
```yaml VISION
product_name: "Brew Notebook"
product_summary: "For training centres in Canada, Brew Notebook turns brew logs into a routine of brewers and quality \
leads for full traceability."
target_users:
- "Brewers"
- "Quality leads"
value_proposition:
- "One shared truth"
- "Fewer calls and lost notes"
key_capabilities:
- "Open exports"
- "Checked imports"
non_goals:
- "Custom hardware"
success_metrics:
- "Most quality leads rate it well"
- "Most brewers use it weekly"
last_updated: "2025-11-13"
```
```yaml REVIEW
status: misaligned
summary:
- "2 of 5 requirements fit the concept."
- "One decision is needed."
requirements_alignment:
  aligned:
  - "FR001: spreadsheet export"
  - "FR002: checked imports"
  gaps:
  - "NFR001: no response time is given"
  conflicts:
  - "FR003 and C001: storage on the phone is both asked for and forbidden"
recommended_actions:
- "Decide whether FR003 or C001 holds."
- "Set seconds in NFR001."
narrative: "Most wishes fit training centres, but no design can meet two that demand opposite things."
```"""
