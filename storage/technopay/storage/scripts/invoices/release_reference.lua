-- release_reference(invoice_id)
--
-- Find out in the partition of an invoice whether it frees its reference; one that has expired unpaid is ended for good.
--
-- Returns {code, now, ''}: 'ok' or 'reference_used'

return {frees_reference(invoice_id) and 'ok' or 'reference_used', at, ''}
