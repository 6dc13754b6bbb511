namespace Pollux.Grains.Core;

public enum ArbiterChange
{
    /// <summary>Changes nothing; returns the record.</summary>
    Look,

    /// <summary>The asker, a member of the in-sync set, becomes primary; the set becomes itself.</summary>
    Takeover,

    /// <summary>The asker, the primary, takes the peer out of the in-sync set. Granted also if the peer is not in it: the new epoch
    /// voids a join whose outcome the asker does not know (rule S11).</summary>
    Exclude,

    /// <summary>The asker, the primary, takes the resynced peer into the in-sync set.</summary>
    Join,

    /// <summary>The asker, the primary, makes the peer, a member, the primary; the set keeps both.</summary>
    Handover,
}

/// <summary>A request to change the record by compare-and-set.</summary>
/// <param name="OperationId">Repeating a granted id returns the grant again and changes nothing.</param>
/// <param name="RecordIncarnation">The incarnation that the asker knows; ignored by <see cref="ArbiterChange.Look"/>.</param>
/// <param name="ExpectedEpoch">The epoch that the asker knows; ignored by <see cref="ArbiterChange.Look"/>.</param>
/// <param name="By">The asking host, as authenticated.</param>
/// <param name="Peer">The host that the change is about.</param>
public sealed record ArbiterRequest(
    Guid OperationId, Guid RecordIncarnation, long ExpectedEpoch, ArbiterChange Change, string By, string Peer);
