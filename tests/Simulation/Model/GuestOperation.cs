namespace Pollux.Tests.Simulation.Model;

internal enum GuestOperationKind
{
    Write,
    Flush,
    Truncate,
    Punch,
    SetTime,
    Create,
    Unlink,
    Rename,
}

/// <summary>One request of a VM.</summary>
internal sealed record GuestOperation
{
    public required GuestOperationKind Kind { get; init; }

    /// <summary>0 for a flush of everything, and for names.</summary>
    public ulong Object { get; init; }

    public long OffsetBytes { get; init; }

    /// <summary>For a truncation the new size is <see cref="OffsetBytes"/> and this is what it cuts.</summary>
    public long LengthBytes { get; init; }

    public string Name { get; init; } = "";

    public string NewName { get; init; } = "";

    public bool DataOnly { get; init; }

    /// <summary>Names the change; grows with each operation of a run. 0 for a flush.</summary>
    public long Number { get; init; }

    public required long BegunMs { get; init; }

    /// <summary>Tells requests of one VM apart; for the whole run.</summary>
    public long Request { get; init; }

    /// <summary>An earlier process has read it and not answered it: done, done in part, or not at all.</summary>
    public bool IsResent { get; init; }

    /// <summary>What the cells hold when it has been done.</summary>
    public IReadOnlyList<(Cell Cell, long Value)> Changes { get; init; } = [];

    /// <summary>For a flush: what it must make stable, as each cell's last acknowledged change.</summary>
    public IReadOnlyList<(Cell Cell, long Number)> MakesStable { get; init; } = [];

    /// <summary>Tells the VM of the end, with a Linux error number; false if that VM is no more: then nobody was told.</summary>
    public Func<int, bool> Ends { get; init; } = static _ => false;

    public override string ToString() => Kind switch
    {
        GuestOperationKind.Flush => $"flush of {Object}",
        GuestOperationKind.Rename => $"rename {Name} to {NewName} ({Number})",
        GuestOperationKind.Create or GuestOperationKind.Unlink => $"{Kind} {Name} ({Number})",
        _ => $"{Kind} {Object}+{OffsetBytes}, {LengthBytes} bytes ({Number})",
    };
}
