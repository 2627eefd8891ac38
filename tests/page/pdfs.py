"""Small PDF files, and some that take much to read."""

import io
import zlib

import pypdf
from pypdf.generic import (
    ArrayObject,
    DecodedStreamObject,
    DictionaryObject,
    NameObject,
    StreamObject,
)


def pdf(*pages: str, password: str | None = None) -> bytes:
    """A PDF with one line of text on each page; a page of an empty text has none."""
    writer = pypdf.PdfWriter()
    for text in pages:
        sheet = _sheet(writer)
        stream = DecodedStreamObject()
        stream.set_data(f"BT /F1 12 Tf 20 200 Td ({text}) Tj ET".encode() if text else b"")
        sheet[NameObject("/Contents")] = writer._add_object(stream)
    if password is not None:
        writer.encrypt(password, owner_password="owner")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def pdf_of(content: bytes, pages: int = 1, filters: int = 1) -> bytes:
    """A PDF whose pages share one stream of content, given as it is stored: compressed so many times."""
    writer = pypdf.PdfWriter()
    stream = StreamObject()
    stream._data = content
    stream[NameObject("/Filter")] = ArrayObject([NameObject("/FlateDecode")] * filters)
    reference = writer._add_object(stream)
    for _ in range(pages):
        _sheet(writer)[NameObject("/Contents")] = reference
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def slow_pdf() -> bytes:
    """A few hundred kilobytes that take a minute and more to read."""
    return pdf_of(zlib.compress(b"BT /F1 12 Tf " + b"() Tj " * 2000 + b"ET"), pages=2000)


def flate_bomb(mebibytes: int) -> bytes:
    """A compressed stream of so many MiB of zeros."""
    packer = zlib.compressobj(9)
    parts = [packer.compress(bytes(2**20)) for _ in range(mebibytes)]
    return b"".join(parts) + packer.flush()


def _sheet(writer: pypdf.PdfWriter) -> DictionaryObject:
    """A new page with a font called F1."""
    font = DictionaryObject(
        {
            NameObject("/Type"): NameObject("/Font"),
            NameObject("/Subtype"): NameObject("/Type1"),
            NameObject("/BaseFont"): NameObject("/Helvetica"),
        }
    )
    sheet = writer.add_blank_page(300, 300)
    fonts = DictionaryObject({NameObject("/F1"): writer._add_object(font)})
    sheet[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
    return sheet
