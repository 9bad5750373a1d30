"""The verbs that names of functions and docstrings begin with, in alphabetical order.

Before adding one, look for a verb with the same meaning: `make` for a value, `create` for a thing
with a life, `read` for the content of a value or file, `find` for a search that may fail.
"""

WORDS = """
accept add advance allow answer append apply ask assemble assert assign attach authorize average
begin block break bring browse build call cancel carry catch challenge change charge check
choose classify clean clear close coalesce collect combine compare compile complete compute
concatenate consume continue convert copy correct count crawl create cut debit decide decode
decompress decorate deflate delay delegate delete deny deploy derive describe detach detect
disable discard discover divide do download drain draw drive drop dump edit empty encode end
enter escape estimate evaluate examine exchange exit expand expect expire explain export extract
fail fan fetch fill filter find finish fix flatten fold follow forbid forget fork format forward
freeze gather generate get give grant group grow guard handle hash hide hold identify ignore
import inflate inject install instrument issue iter iterate join judge keep kill label learn
leave lengthen let limit list listen load locate lock look lose make manage map mark mask match
measure merge mix move name narrow negate normalize note notify number omit open pack parse pass
patch pause pick pin ping plan play poll pop post postpone predefine prepare print publish put
query queue quote raise rank read rebuild receive reconcile record redact redirect refer refresh
refuse register reject release remember remove rename render renew repair repeat replace replay
report request require reset resolve respond restart restrict resume retrieve return revoke
round run save scan schedule search select send serve set settle share shorten show shrink skip
sleep slice sort split spoil start stop store stream strip submit subtract suggest sum summarize
suppress suspend switch sync take time tokenize trace translate trust try turn undo uninstrument
unite unpack unquote unregister unwrap upload use validate verify view wait wake walk warm warn
watch weigh wrap write yield
"""

VERBS = frozenset(WORDS.split())
