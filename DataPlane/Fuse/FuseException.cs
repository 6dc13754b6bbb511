namespace Pollux.DataPlane.Fuse;

/// <summary>A mount could not be made, or the kernel and this process disagree about the protocol.</summary>
public sealed class FuseException : Exception
{
    public FuseException(string message) : base(message)
    {
    }

    public FuseException(string message, Exception inner) : base(message, inner)
    {
    }

    /// <param name="errno">Positive Linux error number; 0 if the fault is not one of a system call.</param>
    public FuseException(string message, int errno)
        : base(errno == 0 ? message : $"{message}: {System.Runtime.InteropServices.Marshal.GetPInvokeErrorMessage(errno)} (errno {errno}).") => Errno = errno;

    public int Errno { get; }
}
