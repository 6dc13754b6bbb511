namespace Pollux.DataPlane.Core.Replication;

/// <summary>Whether front ends may be given what is read from the local copy (rule S8).</summary>
public enum ReadGate : byte
{
    Open,

    /// <summary>No right to execute at the moment: what was read is held back, until the gate opens or closes for good.</summary>
    Held,

    /// <summary>The volume is shut: EIO.</summary>
    Closed,
}
