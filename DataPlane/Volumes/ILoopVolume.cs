using System.Diagnostics.CodeAnalysis;
using Pollux.DataPlane.Fuse;
using Pollux.DataPlane.Loop;

namespace Pollux.DataPlane.Volumes;

/// <summary>A volume whose operations are done by an event loop. Requests that the loop itself has read are handed over there, without a copy
/// and without another thread.</summary>
internal interface ILoopVolume : IModuleVolume
{
    /// <summary>What reads the requests of a mount of this volume; null: threads of the mount's own.</summary>
    FuseLoop? Loop { get; }

    /// <summary>As <see cref="IModuleVolume.Write"/>, on the loop's thread. The data lies at the start of the buffer's payload; the volume takes
    /// its own reference.</summary>
    void WriteOnLoop(ulong obj, long offsetBytes, int buffer, int lengthBytes, OperationTag tag);

    /// <summary>Reads what needs no disk, on the loop's thread.</summary>
    /// <returns>False: it may block; <see cref="IModuleVolume.Read"/> does it on another thread.</returns>
    bool TryReadOnLoop(ulong handle, long offsetBytes, Span<byte> target, out int errno, out int count);

    /// <summary>Reads may be given out now: asked before each read and after it (rule S8). On the loop's thread.</summary>
    bool GivesReads { get; }

    /// <summary>Holds an open file for a read beside the loop.</summary>
    /// <returns>False: <see cref="IModuleVolume.Read"/> does it on another thread.</returns>
    bool TryHold(ulong handle, [NotNullWhen(true)] out IRingFile? file);
}
