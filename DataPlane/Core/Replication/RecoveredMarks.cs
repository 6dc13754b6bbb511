namespace Pollux.DataPlane.Core.Replication;

/// <summary>What the two files of a module's marks say when the module is opened (rule S6): dirty is what the checkpoint names and every
/// extent in the activity log.</summary>
/// <remarks>Before anything else <see cref="CheckpointToStore"/> and then <see cref="LogToStore"/> are made durable, if they are there: damage
/// is sticky, it is remembered until a resync has repaired it. A crash between the two finds the same again.</remarks>
public sealed class RecoveredMarks
{
    private RecoveredMarks(ActivityLogImage log) => Log = log;

    /// <summary>To be united with the marks in memory before the first write.</summary>
    public required IReadOnlyList<ObjectRange> Ranges { get; init; }

    /// <summary>What is in the durable checkpoint.</summary>
    public required IReadOnlyList<ObjectRange> CheckpointRanges { get; init; }

    /// <summary>The marks cannot be trusted: only a full resync proves the copies equal.</summary>
    public required bool EverythingMayDiffer { get; init; }

    /// <summary>Of the part that this host is about to take; none if it had another.</summary>
    public required ResyncClaim Claim { get; init; }

    /// <summary>What was wrong with the files, or null.</summary>
    public required string? Damage { get; init; }

    /// <summary>Not null: must replace the checkpoint first.</summary>
    public byte[]? CheckpointToStore { get; private init; }

    /// <summary>Not null: must replace the activity log then.</summary>
    public byte[]? LogToStore { get; private init; }

    internal ActivityLogImage Log { get; }

    /// <param name="checkpoint">Bytes of the file; null if there is none.</param>
    /// <param name="log">Bytes of the file; null if there is none.</param>
    /// <param name="slots">Of the activity log from now on. What a log of another size holds goes to the checkpoint, and an empty one replaces it.</param>
    /// <param name="part">What the host is about to be: a claim of the other part ends.</param>
    /// <param name="refusal">Not null: a newer version of Pollux wrote a file. Nothing may be changed; the module cannot be opened.</param>
    public static RecoveredMarks? Read(ReadOnlyMemory<byte>? checkpoint, ReadOnlyMemory<byte>? log, int slots, ResyncPart part, out string? refusal)
    {
        var stored = checkpoint is { } bytes ? CheckpointImage.Read(bytes.Span) : CheckpointImage.Damaged("there is no checkpoint of the dirty marks");
        string? damage = "there is no activity log";
        var newer = 0;
        var opened = log is { } logBytes ? ActivityLogImage.Read(logBytes.Span, out damage, out newer) : null;
        refusal = stored.NewerVersion > 0 ? Newer("checkpoint of the dirty marks", stored.NewerVersion, CheckpointImage.Version)
            : newer > 0 ? Newer("activity log", newer, ActivityLogImage.Version)
            : null;
        if (refusal is not null)
            return null;
        var everything = stored.EverythingMayDiffer || damage is not null;
        // Without a log the marks since the checkpoint are lost, so no claim stands on them.
        var claim = stored.Claim.Part == part && damage is null ? stored.Claim : ResyncClaim.None;
        IReadOnlyList<ObjectRange> ranges = opened is null ? stored.Ranges
            : [.. stored.Ranges, .. opened.Entries.Where(static entry => entry.Object != 0).Select(static entry => entry.Range)];
        var kept = opened?.Entries.Length == slots ? opened : null;
        var durable = kept is null ? ranges : stored.Ranges;
        var empty = kept is null ? ActivityLogImage.Empty(slots) : null;
        return new(kept ?? ActivityLogImage.Read(empty, out _, out _)!)
        {
            Ranges = ranges,
            CheckpointRanges = durable,
            EverythingMayDiffer = everything,
            Claim = claim,
            Damage = stored.Damage ?? damage,
            CheckpointToStore = kept is null || stored.Damage is not null || claim != stored.Claim
                ? CheckpointImage.Write(durable, everything, claim)
                : null,
            LogToStore = empty ?? (kept!.WasOlderVersion ? kept.Whole() : null),
        };
    }

    private static string Newer(string what, int version, int known) =>
        $"The {what} has version {version}; this pollux-host knows versions up to {known}. Install the newer one again, or let the module be resynced in full.";
}
