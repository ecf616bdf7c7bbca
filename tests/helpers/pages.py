"""HTML pages, read: their tags, their text, and whether they need anything else."""

import html.parser

VOID = {"meta", "link", "img", "br"}


class Page(html.parser.HTMLParser):
    """A page, read: every tag is closed in its turn.

    Attributes:
        tags: Names and attributes of the tags.
        text: What is shown.
        tables: By the label of their region, the texts of their cells by row and by column.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.text, self._open = [], "", []
        self._rows: dict[str, list[list[str]]] = {}
        self._label = ""
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)
        match tag, dict(attrs):
            case "div", {"role": "region", "aria-label": label}:
                self._label = label
            case "table", _:
                self._rows[self._label] = []
            case "tr", _:
                self._rows[self._label].append([])
            case "th" | "td", _:
                self._rows[self._label][-1].append("")

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open and self._open[-1] != "style":
            self.text += data
            if {"th", "td"} & {*self._open}:
                self._rows[self._label][-1][-1] += " ".join(data.split())

    @property
    def tables(self) -> dict[str, dict[str, dict[str, str]]]:
        return {
            label: {name: dict(zip(header[1:], cells, strict=True)) for name, *cells in rows}
            for label, (header, *rows) in self._rows.items()
        }

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def require_alone(text: str, page: Page) -> None:
    """Holds a page to what it promises: it fetches nothing and runs nothing."""
    for tag, attributes in page.tags:
        assert tag not in ("script", "iframe", "object", "embed", "base", "form")
        for name in ("src", "href"):
            assert attributes.get(name, "#").startswith(("data:", "#")), (tag, name)
        assert not [name for name in attributes if name.startswith("on") or name == "srcset"]
    style = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in style and "@import" not in style and "://" not in style
    policy = next(each for each in page.all("meta") if "http-equiv" in each)
    assert policy["content"].startswith("default-src 'none'; img-src data:; ")
