"""All breakages."""

from planted.archives import ARCHIVES
from planted.behaviour import LIMITS_ON_BEHAVIOUR
from planted.clusters import CLUSTERS
from planted.corrections import CORRECTIONS
from planted.cuts import CUTS
from planted.dropping import DROPPING
from planted.events import EVENTS
from planted.histories import HISTORIES
from planted.load import LOAD
from planted.lookups import LOOKUPS_AND_CHANGES
from planted.money import CONFIRMATION, ENDINGS
from planted.repeats import REPEATS_AND_CLAIMS
from planted.services import SERVICES
from planted.sign_in import SIGN_IN_AND_BOUNDS
from planted.store import STORE_AND_REPLIES
from planted.trimming import TRIMMING
from planted.watching import WATCHING
from planted.webhooks import WEBHOOKS

BREAKAGES = (
    *REPEATS_AND_CLAIMS,
    *STORE_AND_REPLIES,
    *CLUSTERS,
    *CONFIRMATION,
    *ENDINGS,
    *CORRECTIONS,
    *LIMITS_ON_BEHAVIOUR,
    *SIGN_IN_AND_BOUNDS,
    *EVENTS,
    *LOAD,
    *SERVICES,
    *LOOKUPS_AND_CHANGES,
    *WATCHING,
    *ARCHIVES,
    *DROPPING,
    *TRIMMING,
    *HISTORIES,
    *CUTS,
    *WEBHOOKS,
)
