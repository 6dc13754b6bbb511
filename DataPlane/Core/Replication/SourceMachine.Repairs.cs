namespace Pollux.DataPlane.Core.Replication;

// A write that the disk refused (full, over quota) after its frame was sent. Both copies stay equal: what is really there follows, and the
// file's length.
public sealed partial class SourceMachine
{
    // Objects of which what is there is being read: no operation of them begins, or the length would be an old one when it is sent.
    private readonly List<ulong> _repaired = [];

    private bool IsRepaired(ulong obj) => _repaired.Count > 0 && _repaired.Contains(obj);

    /// <summary>What a failed write left in its range, and the file's length.</summary>
    public void LocalRepairRead(int slot, int errno, long sizeBytes, DataRef data)
    {
        ref var operation = ref Running(slot, OperationKind.Write);
        (operation.RepairData, operation.SizeBytes) = (errno == 0 ? data : default, sizeBytes);
        if (errno != 0 && operation.Link == _link && _link != 0)
            LoseSession($"what a failed write left of object {operation.Object:x} could not be read ({LinuxError.Describe(errno)})");
        operation.Step = Step.RepairSend;
        Advance(slot);
        _changed = true;
        Settle();
    }

    private bool AdvanceRepair(int slot)
    {
        ref var operation = ref _operations[slot];
        if (operation.Step == Step.Done)
            return true;
        var over = _stopping || operation.Link != _link || _fault;
        var cut = new Mutation(MutationKind.SetAttributes) { Object = operation.Object, Mask = AttributeMask.Size, SizeBytes = operation.SizeBytes };
        var cutBytes = MutationCodec.SizeOf(cut);
        if (operation.Step == Step.Repair)
        {
            if (operation.WithPeer)
                return true;
            if (over)
                return EndWrite(slot, operation.Errno, 0);
            // Other writes of this object that run now may lie beyond it: the file's length is known only when they are done.
            if (_ledger.OthersRun(slot))
                return false;
            operation.WithPeer = true;
            _repaired.Add(operation.Object);
            _effects.LocalRepairRead(slot, operation.Object, operation.StartBytes, operation.Data.Length);
            return true;
        }
        if (!over)
        {
            if (!_ledger.CanSendTwo || !MaySend(operation.RepairData.Length + FrameHeader.SizeBytes + cutBytes))
                return false;
            SendRepair(slot, cut, cutBytes);
        }
        if (operation.RepairData.Length > 0)
            _effects.ReleaseData(operation.RepairData);
        _repaired.Remove(operation.Object);
        return EndWrite(slot, operation.Errno, 0);
    }

    private void SendRepair(int slot, Mutation cut, int cutBytes)
    {
        ref readonly var operation = ref _operations[slot];
        var waits = _peer is PeerPart.Member or PeerPart.Joining;
        var header = new FrameHeader(FrameKind.Write, FrameFlags.None, operation.RepairData.Length, _epoch, 0, operation.Object, operation.StartBytes);
        _effects.Send(_link, header with { Sequence = _ledger.SentAgain(slot, FrameHeader.SizeBytes + header.PayloadBytes, waits) }, operation.RepairData);
        Span<byte> payload = stackalloc byte[cutBytes];
        MutationCodec.Write(cut, payload);
        _effects.Send(
            _link,
            header with { Kind = FrameKind.Mutation, PayloadBytes = cutBytes, OffsetBytes = 0, Sequence = _ledger.SentAgain(slot, FrameHeader.SizeBytes + cutBytes, waits) },
            payload);
    }
}
