-- claim: how long a process may work on a record before others take it over. It is renewed while the work runs.

local CLAIM_MS = 15000
-- The relay is renewed more often: all messages wait for it.
local RELAY_MS = 4000
