using Microsoft.Win32.SafeHandles;
using Pollux.DataPlane.Volumes;

namespace Pollux.DataPlane.Modules;

/// <summary>What lies over a module's directories: covers, or the serving volume. Called by one lane, one call at a time.</summary>
public interface IModuleFront
{
    /// <summary>A serving mount failed or was taken away by somebody: the reason. On any thread.</summary>
    event Action<string>? Failed;

    /// <summary>The directories under the mounts, in their order; valid from <see cref="OpenAsync"/> to <see cref="CloseAsync"/>.</summary>
    IReadOnlyList<SafeFileHandle> Directories { get; }

    /// <summary>Opens the directories (made if they are missing) and covers them.</summary>
    Task OpenAsync(string explanation);

    /// <summary>Completions for the next <see cref="ServeAsync"/>.</summary>
    IVolumeCompletions NewCompletions();

    /// <summary>Mounts the volume in place of the cover file systems, on each directory what is of it.</summary>
    Task ServeAsync(IModuleVolume volume);

    /// <summary>Makes the times of files that are open for writing, or have just been closed, equal on both hosts; within about a second.</summary>
    Task SettleAsync();

    /// <summary>Takes the serving mounts away, if there are any; users get errors. Cover file systems take their place.</summary>
    Task CoverAsync();

    /// <summary>What the cover says to those who look.</summary>
    void Explain(string explanation);

    /// <summary>Takes everything away: the directories are as they were before Pollux, with the data that they have.</summary>
    Task CloseAsync();
}
