-- claim: how long somebody has to work on something before others may take it. Whoever works renews it.

local CLAIM_MS = 15000
-- The relay is renewed more often: all messages wait for it.
local RELAY_MS = 4000
