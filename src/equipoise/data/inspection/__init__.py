"""The data doctor: what is wrong with a set of data, and a cleaned copy of it."""

from equipoise.data.inspection.cleaning import Cleaning, Decision, clean
from equipoise.data.inspection.findings import KINDS, Finding, Inspection
from equipoise.data.inspection.inspect import inspected
from equipoise.data.inspection.page import write_page

__all__ = ["KINDS", "Cleaning", "Decision", "Finding", "Inspection", "clean", "inspected", "write_page"]
