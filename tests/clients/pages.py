"""What a browser would find in a page."""

from html.parser import HTMLParser

OPEN_ENDED = {"meta", "link", "img", "br"}


class Page(HTMLParser):
    """Its tables by class, as rows of texts, the elements with their attributes, and the scripts' texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self._open: list[str] = []
        self._rows: list[list[str]] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        if tag not in OPEN_ENDED:
            self._open.append(tag)
        if tag == "script":
            self.scripts.append("")
        elif tag == "table":
            self._rows = self.tables.setdefault(str(dict(attributes)["class"]).split()[0], [])
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "script" in self._open:
            self.scripts[-1] += data
        elif "style" not in self._open:
            self.text += data
            if self._open and self._open[-1] in ("td", "th"):
                self._rows[-1][-1] += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def rows(self, table: str) -> dict[str, list[str]]:
        """The cells of each row by its name."""
        return {name: cells for name, *cells in self.tables[table] if name}
