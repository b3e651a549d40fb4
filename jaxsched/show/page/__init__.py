"""One page of text, tables and pictures that needs nothing from elsewhere."""

from jaxsched.show.page._page import Block, Code, Items, Page, Picture, Section, Text, page_html
from jaxsched.show.page._pictures import picture

__all__ = ["Block", "Code", "Items", "Page", "Picture", "Section", "Text", "page_html", "picture"]
