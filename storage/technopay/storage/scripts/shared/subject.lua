-- subject: the records that have events, by the beginning of their ids: their kind, and how they are read.

local SUBJECTS = {
    pay_ = {kind = 'payment', read = function(id) return view(id) end},
    inv_ = {kind = 'invoice', read = function(id) return {id, flat(read_invoice(id))} end},
    wal_ = {kind = 'wallet', read = function(id) return {id, flat(read('wallet', id))} end},
}
