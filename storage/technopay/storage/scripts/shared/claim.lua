-- claim: how long a process may work on a record before another one takes it over. The process renews it meanwhile.

local CLAIM_MS = 15000
-- The relay is renewed more often: all messages wait for it.
local RELAY_MS = 4000
-- The claim of an archiver lasts longer: its commits wait for a disk, and nothing else waits for it.
local ARCHIVE_MS = 30000
