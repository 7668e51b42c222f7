"""A place in the words of a text, and what is wrong with the text so far."""

from __future__ import annotations

from caffecompat.schema.problems import Problem, Text
from caffecompat.schema.tokens import END, PUNCTUATION, STRING, Token, tokenize

__all__ = ["CLOSERS", "DEEPEST", "OPENERS", "Cursor"]

OPENERS, CLOSERS = "{<[", "}>]"
DEEPEST = 100  # nested blocks; protobuf's own limit


class Cursor:
    """The words of a text and the index `i` of the next one; problems gather on the way."""

    def __init__(self, text: Text) -> None:
        self.text = text
        self.tokens: list[Token] = tokenize(text)
        self.i = 0
        self.problems: list[Problem] = []

    def problem(self, at: int, message: str) -> None:
        """Note what is wrong with the character at offset `at`; the end of the text counts to its last word."""
        if at >= self.tokens[-1][2]:
            at = max(0, len(self.text.characters.rstrip()) - 1)
        self.problems.append(Problem.at(self.text, at, message))

    def spot(self, at: int) -> str:
        """``line:column`` of an offset."""
        return "%d:%d" % self.text.position(at)

    def line_of(self, at: int) -> int:
        return self.text.position(at)[0]

    def sees(self, marks: str) -> bool:
        """Whether the next word is one of these punctuation marks."""
        kind, word, _ = self.tokens[self.i]
        return kind == PUNCTUATION and word in marks

    def takes(self, mark: str) -> bool:
        """Step over the next word if it is this punctuation mark."""
        if self.sees(mark):
            self.i += 1
            return True
        return False

    def shown(self) -> str:
        """The next word as an error shows it."""
        kind, word, _ = self.tokens[self.i]
        if kind == END:
            return "the end of the text"
        if word in ("“", "”", "‘", "’"):
            return f"the typographic quote {word} (write \" or ')"
        return word if kind == STRING else f"'{word}'"

    def skip_line(self) -> None:
        """Step over words to the end of this line or a closing bracket; over at least one, and over whole blocks."""
        line_end = self.text.characters.find("\n", self.tokens[self.i][2])
        first = True
        while self.tokens[self.i][0] != END:
            past = line_end >= 0 and self.tokens[self.i][2] > line_end
            if not first and (past or self.sees("}>];")):
                return
            if self.sees(OPENERS):
                self.skip_block()
            else:
                self.i += 1
            first = False

    def skip_block(self) -> None:
        """Step over a bracket and all up to the one that closes it."""
        depth = 0
        while self.tokens[self.i][0] != END:
            depth += self.sees(OPENERS) - self.sees(CLOSERS)
            self.i += 1
            if depth <= 0:
                return
