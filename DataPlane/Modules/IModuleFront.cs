using Microsoft.Win32.SafeHandles;
using Pollux.DataPlane.Volumes;

namespace Pollux.DataPlane.Modules;

/// <summary>What lies over a module's directory: a cover, or the serving volume. Called by one lane, one call at a time.</summary>
public interface IModuleFront
{
    /// <summary>The serving mount failed or was taken away by somebody: the reason. On any thread.</summary>
    event Action<string>? Failed;

    /// <summary>The directory under the mounts; valid from <see cref="OpenAsync"/> to <see cref="CloseAsync"/>.</summary>
    SafeFileHandle Directory { get; }

    /// <summary>Opens the directory (made if it is missing) and covers it.</summary>
    Task OpenAsync(string explanation);

    /// <summary>Completions for the next <see cref="ServeAsync"/>.</summary>
    IVolumeCompletions NewCompletions();

    /// <summary>Mounts the volume in place of the cover file system.</summary>
    Task ServeAsync(IModuleVolume volume);

    /// <summary>Makes the times of files that are open for writing, or have just been closed, equal on both hosts; within about a second.</summary>
    Task SettleAsync();

    /// <summary>Takes the serving mount away, if there is one; users get errors. The cover file system takes its place.</summary>
    Task CoverAsync();

    /// <summary>What the cover says to those who look.</summary>
    void Explain(string explanation);

    /// <summary>Takes everything away: the directory is as it was before Pollux, with the data that it has.</summary>
    Task CloseAsync();
}
