"""`{% load canuse %}`: parts of a page for users who may use a feature."""

from django import template
from django.template.base import FilterExpression, NodeList, Parser, Token
from django.template.context import Context

from canuse.django.clients import client, user_id_of

register = template.Library()


@register.tag
def if_can_use(parser: Parser, token: Token) -> "CanUseNode":
    """Render a block only if the request's user may use a feature now; this records nothing.

        {% if_can_use "reports" 3 %}…{% else %}…{% endif_can_use %}

    The first argument is the feature's id, the second the amount, by default 1. Without a user, the answer is
    no. The template must be rendered with a request. If canuse does not answer, the error is raised.
    """
    name, *arguments = token.split_contents()
    if len(arguments) not in (1, 2):
        raise template.TemplateSyntaxError(f"{name} takes a feature's id and, if it is not 1, an amount")
    yes = parser.parse(("else", "endif_can_use"))
    no = NodeList()
    if parser.next_token().contents == "else":
        no = parser.parse(("endif_can_use",))
        parser.delete_first_token()
    return CanUseNode([parser.compile_filter(each) for each in arguments], yes, no)


class CanUseNode(template.Node):
    """A block with what to show instead."""

    child_nodelists = ("yes", "no")

    def __init__(self, arguments: list[FilterExpression], yes: NodeList, no: NodeList) -> None:
        """Keep the expressions of the arguments, and both blocks."""
        self.arguments = arguments
        self.yes = yes
        self.no = no

    def render(self, context: Context) -> str:
        """Ask, and render one of the blocks."""
        request = getattr(context, "request", None)
        if request is None:
            raise template.TemplateSyntaxError("if_can_use needs a template that is rendered with a request")
        user_id = user_id_of(request)
        feature_id, *delta = [each.resolve(context) for each in self.arguments]
        access = user_id is not None and bool(client().can_use(user_id, feature_id, *delta))
        return (self.yes if access else self.no).render(context)
