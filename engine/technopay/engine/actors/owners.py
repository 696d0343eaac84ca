"""The known owners of wallets: a start by another user must not wait in the wallet's mailbox."""

from technopay.engine.actors.directory import Directory
from technopay.engine.commands import StartPayment
from technopay.engine.ports import Store
from technopay.engine.reads import ReadWallet

OWNERS_MAX = 50_000


class Owners:
    """The owner of each wallet, which never changes."""

    def __init__(self, store: Store, directory: Directory) -> None:
        self._store = store
        self._directory = directory
        self._owners: dict[str, str] = {}

    async def mailbox_for(self, command: StartPayment) -> str:
        """Return the mailbox of a start: one of its own, if the wallet belongs to another user.

        The script refuses it all the same. The owner is read only if it is unknown and the wallet is busy.
        """
        wallet_id = command.wallet_id
        owner = self._owners.get(wallet_id)
        if owner is None and self._directory.has_actor(wallet_id):
            wallet = (await self._store.run(ReadWallet(wallet_id))).value
            owner = wallet.user_id if wallet else ""
            if wallet:
                self.note(wallet_id, owner)
        return wallet_id if owner in (None, command.user_id) else command.payment_id

    def note(self, wallet_id: str, user_id: str) -> None:
        if wallet_id not in self._owners:
            if len(self._owners) >= OWNERS_MAX:
                del self._owners[next(iter(self._owners))]
            self._owners[wallet_id] = user_id
