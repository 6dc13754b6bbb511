using Microsoft.Win32.SafeHandles;

namespace Pollux.DataPlane.Fuse;

/// <summary>A FUSE connection apart from the process that serves it. It lives as long as one process has its descriptors open; requests
/// then wait in the kernel, and <see cref="FuseSession.Adopt"/> goes on with them.</summary>
/// <param name="Number">The kernel's number of the connection, which the mount table shows too.</param>
/// <param name="Devices">All descriptors that requests were read from. Closing one ends the requests that were read from it (fs/fuse/dev.c,
/// fuse_dev_release), so none may be left out.</param>
public sealed record FuseConnection(int Number, FuseNegotiation Negotiated, IReadOnlyList<SafeFileHandle> Devices);
