using Pollux.Grains.Abstractions;

namespace Pollux.Grains.Core;

/// <summary>Makes one picture of a VM out of what two hosts say.</summary>
public static class VmKnowledge
{
    public static VmView Merge(string domain, VmView? known, VmSighting seen)
    {
        if (known is null || Counts(known, seen))
        {
            var same = known is not null && known.Host == seen.Host && known.State == seen.State;
            return new VmView(domain, seen.Module, seen.DefinitionFile, seen.State, seen.Host, seen.Epoch, same ? known!.SinceUnixMs : seen.UnixMs);
        }
        return known;
    }

    /// <summary>The host that runs it speaks for it; the other only from a newer epoch on, or as long as it runs nowhere.</summary>
    private static bool Counts(VmView known, VmSighting seen) =>
        seen.Host == known.Host ? seen.Epoch >= known.Epoch
        : Executes(seen.State) ? seen.Epoch >= known.Epoch
        : !Executes(known.State) && seen.Epoch > known.Epoch;

    private static bool Executes(string state) => state is "running" or "paused";
}
