"""The colours and the font of charts, decks and pages; ``reports/templates/*.css`` has the same ones."""

BLUE, GREEN, ORANGE, RED, GREY = "#0072b2", "#009e73", "#e69f00", "#d55e00", "#8a94a6"
"""Okabe and Ito's colours, which colour-blind readers tell apart, for use on white."""
INK, MUTED, LINE = "#1f2933", "#5b6776", "#e3e7ed"
FONT = "system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif"
